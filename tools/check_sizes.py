#!/usr/bin/env python3
"""File and function lengths: a file over 600 lines (.cu and .cuh: 800) fails; functions over 60 lines are reported.

  tools/check_sizes.py            check
  tools/check_sizes.py --list     all functions over 40 lines, longest first
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {".cpp": 600, ".hpp": 600, ".h": 600, ".inc": 600, ".def": 600, ".py": 600, ".sh": 600, ".cu": 800, ".cuh": 800}
NOT_A_FUNCTION = re.compile(r"^\s*(namespace|class|struct|union|enum|extern|using|constexpr [^(]*=|const [^(]*=|static const[^(]*=)\b")


def functions(lines):
    """Yields (first line number, length, signature) of the functions of a file in the house's format: a body opens with
    a { at the end of a line and closes with a } in the column where the signature begins."""
    start = None  # (line number, indent)
    for number, line in enumerate(lines, 1):
        if start:
            if line.startswith(" " * start[1] + "}"):
                yield start[0], number - start[0] + 1, lines[start[0] - 1].strip()
                start = None
            continue
        indent = len(line) - len(line.lstrip())
        if line.endswith("{") and indent in (0, 2, 4) and "(" in line and not NOT_A_FUNCTION.match(line):
            start = (number, indent if indent != 4 else 0)


def main():
    listing = sys.argv[1:] == ["--list"]
    if sys.argv[1:] and not listing:
        sys.exit(__doc__)
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True,
                           capture_output=True, check=True).stdout.split("\n")
    too_long, long_functions, files = [], [], 0
    for name in names:
        path = ROOT / name
        limit = LIMITS.get(path.suffix)
        if not limit or not path.is_file():
            continue
        files += 1
        lines = path.read_text(errors="replace").splitlines()
        if len(lines) > limit:
            too_long.append(f"{name}:{len(lines)}: over {limit} lines; is there a seam to cut along?")
        if path.suffix in (".cpp", ".hpp", ".inc"):
            long_functions += [(length, f"{name}:{first}", text) for first, length, text in functions(lines)
                               if length > (40 if listing else 60)]
    for length, where, text in sorted(long_functions, reverse=True):
        print(f"{where}: {length} lines: {text[:80]}")
    if too_long:
        sys.exit("\n".join(too_long))
    print(f"check_sizes: {files} files, {len(long_functions)} functions over {40 if listing else 60} lines")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # its reader, `head` say, has seen enough
        sys.stderr.close()

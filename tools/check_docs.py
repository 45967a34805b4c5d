#!/usr/bin/env python3
"""Checks what the documentation promises, without running anything long:

- code blocks opened with ```sh checked: `make X` is a target of the Makefile; scripts named there exist; each
  `tenon VERB --option` is known to the built tool's own help (build/release/tenon; without it that part is left out,
  and the output says so);
- code blocks opened with ```cpp checked compile, without warnings;
- links between the pages lead to files that exist, and so do paths in backquotes that begin with a folder of ours.
"""
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "build/release/tenon"
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:src|include|tests|tools|docs|bench|\.ci)/[\w./-]+)`")


def sources(lines):
    """Yields (line number, text) of the ```cpp checked blocks."""
    start = None
    for number, line in enumerate(lines, 1):
        if start is None and line.strip() == "```cpp checked":
            start = number
        elif start is not None and line.startswith("```"):
            yield start, "\n".join(lines[start:number - 1]) + "\n"
            start = None


def compile_error(text):
    compiler = subprocess.run([ROOT / "tools/build.sh", "--compiler"], text=True, capture_output=True, check=True)
    result = subprocess.run([compiler.stdout.strip(), "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                             "-Iinclude", "-Isrc", "-x", "c++", "-"], cwd=ROOT, input=text, text=True, capture_output=True)
    return result.stderr if result.returncode else None


def blocks(lines):
    """Yields (line number, command) of the checked code blocks; a trailing backslash joins lines."""
    inside, joined, first = False, "", 0
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            inside = line.strip() == "```sh checked"
            continue
        if not inside:
            continue
        text = line.split(" #")[0].strip()
        if not joined:
            first = number
        joined += " " + text.removesuffix("\\")
        if text.endswith("\\"):
            continue
        command, joined = joined.strip(), ""
        if command and not command.startswith("#"):
            yield first, command


@lru_cache
def help_of(verb):
    result = subprocess.run([TOOL, *([verb] if verb else []), "--help"], text=True, capture_output=True, timeout=30)
    return result.stdout if result.returncode == 0 else None


def check_tenon(words):
    verb = words[1] if len(words) > 1 and not words[1].startswith("-") else ""
    text = help_of(verb)
    if text is None:
        return f"'tenon {verb} --help' does not exist"
    for word in words[1:]:
        option = word.split("=")[0]
        if option.startswith("-") and option != "--" and not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text):
            return f"'tenon {verb}' has no option {option}"
    return None


def check_command(command):
    """-> a complaint or None"""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for part in re.split(r"&&|\|\||[|;]", command):
        words = part.split()
        while words and re.fullmatch(r"[A-Z_]+=\S*|sudo", words[0]):
            words.pop(0)
        if not words:
            continue
        name = words[0]
        if name == "make":
            unknown = [w for w in words[1:] if "=" not in w and not w.startswith("-") and w not in targets]
            if unknown:
                return f"the Makefile has no target '{unknown[0]}'"
        elif name.split("/")[-1] == "tenon":
            if TOOL.is_file():
                complaint = check_tenon(words)
                if complaint:
                    return complaint
        else:
            scripts = [w for w in words if w.startswith(("tools/", "bench/", "./tools/")) and "." in w]
            missing = [w for w in scripts if not (ROOT / w).exists()]
            if missing:
                return f"{missing[0]} does not exist"
    return None


def main():
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, text=True,
                           capture_output=True, check=True).stdout.split()
    problems, commands, links, programs = [], 0, 0, 0
    for name in names:
        lines = (ROOT / name).read_text().splitlines()
        for number, command in blocks(lines):
            commands += 1
            complaint = check_command(command)
            if complaint:
                problems.append(f"{name}:{number}: {complaint}: {command}")
        for number, text in sources(lines):
            programs += 1
            error = compile_error(text)
            if error:
                problems.append(f"{name}:{number}: this does not compile:\n{error}")
        for number, line in enumerate(lines, 1):
            for target in LINK.findall(line):
                links += 1
                if not (ROOT / name).parent.joinpath(target).exists():
                    problems.append(f"{name}:{number}: the link to {target} leads nowhere")
            for target in PATH.findall(line):
                links += 1
                if not (ROOT / target).exists():
                    problems.append(f"{name}:{number}: {target} does not exist")
    if problems:
        sys.exit("\n".join(problems))
    note = "" if TOOL.is_file() else " (build/release/tenon is not built: its options were not looked at)"
    print(f"check_docs: {commands} commands, {programs} programs, {links} links and paths{note}")


if __name__ == "__main__":
    main()

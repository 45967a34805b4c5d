#!/usr/bin/env python3
"""Checks src/LAYERS: includes go downwards only, siblings do not see each other.

  tools/check_layers.py              check this repository
  tools/check_layers.py --self-test  prove on a scratch tree that each kind of violation is found

A line of src/LAYERS is a level and the folders on it. A pattern with * names files that are cut out of a lower folder
(the tactics of an op live in the op's folder); they belong to the first folder on their line.
"""
import fnmatch
import re
import sys
import tempfile
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCES = {".hpp", ".cpp", ".h", ".inc", ".def", ".cuh", ".cu"}
# <ranges> costs seconds a file and clang 14 cannot read it; <iostream> brings static constructors into every file.
BANNED = {"ranges": "slow to compile, and clang 14 cannot read it"}
BANNED_IN_HEADERS = {"iostream": "headers stay light", "regex": "headers stay light", "fmt/format.h": "use fmt/core.h",
                     "nlohmann/json.hpp": "use nlohmann/json_fwd.hpp, or keep it in the .cpp"}

QUOTED_THIRD_PARTY = ("hwy/",)  # Highway's own convention


class Unit:
    def __init__(self, name, level):
        self.name, self.level = name, level


def read_layers(text):
    """-> (folder -> Unit, [(pattern, Unit)])"""
    folders, patterns = {}, []
    for line in text.splitlines():
        line = line.split("#")[0].split()
        if not line:
            continue
        level, names = int(line[0]), line[1:]
        for name in (n for n in names if "*" not in n):
            folders[name] = Unit(name, level)
        for name in (n for n in names if "*" in n):
            patterns.append((name, folders[names[0]]))
    return folders, patterns


def unit_of(path, folders, patterns):
    """The unit of a path relative to src/; None for a folder that src/LAYERS does not name."""
    for pattern, unit in patterns:
        if fnmatch.fnmatchcase(path, pattern):
            return unit
    return folders.get(path.split("/")[0])


def resolve(root, source, name):
    """A quoted include as ('src', path), ('include', path) or None."""
    for base in ("src", "include"):
        if (root / base / name).is_file():
            return base, name
    beside = source.parent / name
    if beside.is_file():
        for base in ("src", "include"):
            try:
                return base, beside.resolve().relative_to((root / base).resolve()).as_posix()
            except ValueError:
                pass
    return None


def check_include(root, source, relative, own, kind, name, folders, patterns):
    """-> the broken rule as a sentence, or None."""
    header = source.suffix in (".hpp", ".h", ".inc")
    if name in BANNED:
        return f"<{name}> is not used here: {BANNED[name]}"
    if header and name in BANNED_IN_HEADERS:
        return f"<{name}> in a header: {BANNED_IN_HEADERS[name]}"
    if own.name == "include":
        if kind == '"' and not name.startswith("tenon/"):
            return f'"{name}": a public header includes only public headers'
        if kind == "<" and "/" in name:
            return f"<{name}>: a public header includes no third-party header"
    if kind == "<" or name.startswith(QUOTED_THIRD_PARTY):
        return None
    found = resolve(root, source, name)
    if found is None:
        return f'"{name}" is in neither src/ nor include/ (third-party headers take <>)'
    if found[0] == "include":
        return None
    target = unit_of(found[1], folders, patterns)
    if target is None:
        return f'"{name}" is in a folder that src/LAYERS does not name'
    if target.name == own.name or target.level < own.level:
        return None
    if target.level == own.level:
        return f'"{name}": {own.name} and {target.name} are siblings on layer {own.level} and do not see each other'
    return f'"{name}": {own.name} (layer {own.level}) may not include {target.name} (layer {target.level}); includes go down'


def check(root):
    """-> (number of files, [problem])"""
    folders, patterns = read_layers((root / "src/LAYERS").read_text())
    problems, files = [], 0
    for base in ("include", "src"):
        for source in sorted((root / base).rglob("*")):
            if source.suffix not in SOURCES:
                continue
            files += 1
            relative = source.relative_to(root / base).as_posix()
            shown = source.relative_to(root).as_posix()
            own = folders["include"] if base == "include" else unit_of(relative, folders, patterns)
            if own is None:
                problems.append(f"{shown}:1: src/LAYERS does not name the folder '{relative.split('/')[0]}'")
                continue
            for number, line in enumerate(source.read_text(errors="replace").splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                broken = check_include(root, source, relative, own, *match.groups(), folders, patterns)
                if broken:
                    problems.append(f"{shown}:{number}: {broken}")
    return files, problems


def self_test():
    layers = "3 engine\n2 tactic ops/*/*.cpu.cpp\n2 cpu2\n1 ops\n1 net # sibling\n0 include\n"
    files = {
        "include/tenon/api.hpp": '#include <vector>\n#include "tenon/other.hpp"\n',
        "include/tenon/other.hpp": "#pragma once\n#include <fmt/core.h>\n",          # third party in public
        "src/ops/op.hpp": "#pragma once\n",
        "src/net/net.hpp": '#pragma once\n#include "ops/op.hpp"\n',                    # sibling
        "src/tactic/tactic.hpp": '#include "ops/op.hpp"\n',
        "src/ops/relu/relu.cpu.cpp": '#include "tactic/tactic.hpp"\n#include "ops/op.hpp"\n',
        "src/ops/relu/relu.op.cpp": '\n#include "tactic/tactic.hpp"\n',                # upward
        "src/engine/engine.cpp": '#include "tactic/tactic.hpp"\n#include <ranges>\n#include "gone.hpp"\n',
        "src/attic/old.cpp": "\n",                                                     # unknown folder
    }
    expected = ["include/tenon/other.hpp:2:", "src/attic/old.cpp:1:", "src/engine/engine.cpp:2:", "src/engine/engine.cpp:3:",
                "src/net/net.hpp:2:", "src/ops/relu/relu.op.cpp:2:"]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "src").mkdir()
        (root / "src/LAYERS").write_text(layers)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        _, problems = check(root)
    found = [" ".join(p.split(" ")[:1]) for p in problems]
    if sorted(found) != sorted(expected):
        sys.exit("check_layers: the self-test expected\n  " + "\n  ".join(expected) + "\nbut found\n  " + "\n  ".join(problems))
    print(f"check_layers: self-test found all {len(expected)} planted violations")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if sys.argv[1:]:
        sys.exit(__doc__)
    files, problems = check(Path(__file__).resolve().parent.parent)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"check_layers: {len(problems)} include(s) break the layers of src/LAYERS")
    print(f"check_layers: {files} files, includes go down")


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Formats all C++ files in place; --check only complains. One version of clang-format for everybody, because versions
# disagree: 14, the system's or else a private one from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly version=14.0.6
find_tool() {
  local candidate
  for candidate in clang-format-14 clang-format; do
    if command -v "$candidate" >/dev/null && "$candidate" --version | grep -q 'version 14\.'; then
      echo "$candidate"
      return
    fi
  done
  local venv=.cache/format-venv
  if [ ! -x "$venv/bin/clang-format" ]; then
    echo "format: fetching clang-format $version into $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install -q --disable-pip-version-check "clang-format==$version" >&2
  fi
  echo "$venv/bin/clang-format"
}

tool=$(find_tool)
mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.cpp' '*.hpp' '*.h' '*.inc' | while read -r f; do
  if [ -f "$f" ]; then echo "$f"; fi
done)
[ ${#files[@]} -gt 0 ] || exit 0
if [ "${1:-}" = --check ]; then
  printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 8 "$tool" --dry-run -Werror ||
    { echo 'format: run make format' >&2; exit 1; }
  echo "format: ${#files[@]} files"
else
  "$tool" -i "${files[@]}"
fi

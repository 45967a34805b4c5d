#!/usr/bin/env bash
# clang-tidy with .clang-tidy over the C++ files that differ from origin's main branch; warnings are errors.
#   tools/lint.sh [--all] [FILE...]      --all, or no origin to compare with: all files
set -euo pipefail
cd "$(dirname "$0")/.."

all=false
if [ "${1:-}" = --all ]; then all=true; shift; fi
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  base=''
  if ! $all; then
    for candidate in origin/HEAD origin/main origin/master; do
      if base=$(git merge-base HEAD "$candidate" 2>/dev/null); then break; fi
    done
  fi
  if [ -n "$base" ]; then
    mapfile -t files < <({ git diff --name-only --diff-filter=d "$base" -- 'src/*.cpp' 'tests/*.cpp'
                           git ls-files --others --exclude-standard -- 'src/*.cpp' 'tests/*.cpp'; } | sort -u)
  else
    mapfile -t files < <(git ls-files --cached --others --exclude-standard -- 'src/*.cpp' 'tests/*.cpp')
  fi
fi
if [ ${#files[@]} -eq 0 ]; then echo 'lint: no C++ file changed'; exit 0; fi

RECONFIGURE=1 tools/build.sh release help >/dev/null
known=build/release/compile_commands.json
mapfile -t files < <(for file in "${files[@]}"; do if grep -qF "/$file\"" "$known"; then echo "$file"; fi; done)
if [ ${#files[@]} -eq 0 ]; then echo 'lint: no changed file is part of the release build'; exit 0; fi

tidy=$(command -v clang-tidy || command -v clang-tidy-14 || command -v clang-tidy-19)
echo "lint: ${#files[@]} files with $("$tidy" --version | grep -o 'version [0-9.]*')"
# Flags of g++ that clang does not know are no findings.
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 "$tidy" -p build/release --quiet --warnings-as-errors='*' \
  --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-error 2>build/lint.log ||
  { grep -E 'error:' build/lint.log || true; echo 'lint: findings above' >&2; exit 1; }
echo 'lint: clean'

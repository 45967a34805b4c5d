#!/usr/bin/env bash
# Every header must compile alone. (*-inl.hpp are no headers but parts of a .cpp, compiled once per instruction set.)
set -euo pipefail
cd "$(dirname "$0")/.."

CXX=$(tools/build.sh --compiler)
export CXX
check_one() {
  if grep -q 'extern "C"' "$1"; then  # a C header must also be C
    printf '#include "%s"\n' "$1" | "${CC:-gcc}" -std=c11 -Wall -Wextra -Werror -fsyntax-only -I. -Iinclude -x c - ||
      { echo "$1: does not compile alone as C" >&2; return 1; }
  fi
  printf '#include "%s"\n' "$1" |
    "$CXX" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I. -Iinclude -Isrc -x c++ - ||
    { echo "$1: does not compile alone" >&2; return 1; }
}
export -f check_one
mapfile -t headers < <(git ls-files --cached --others --exclude-standard -- 'include/*.hpp' 'include/*.h' 'src/*.hpp' ':!*-inl.hpp')
printf '%s\0' "${headers[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c 'check_one "$1"' _
echo "headers: ${#headers[@]} compile alone"

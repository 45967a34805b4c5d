#!/usr/bin/env bash
# Configures (once) and builds one preset.
#   tools/build.sh PRESET [TARGET...]      e.g. tools/build.sh release tenon
#   tools/build.sh --compiler              prints the C++ compiler that will be used
# JOBS sets the number of parallel jobs, CXX the compiler; ccache is used where it is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

pick_compiler() {
  local candidate
  if [ -n "${CXX:-}" ]; then echo "$CXX"; return; fi
  for candidate in g++ g++-12 g++-13 g++-14 g++-15; do
    if command -v "$candidate" >/dev/null && [ "$("$candidate" -dumpversion | cut -d. -f1)" -ge 12 ]; then
      echo "$candidate"
      return
    fi
  done
  echo 'build: no g++ 12 or newer found (tools/setup.sh --for build installs one; or set CXX)' >&2
  return 1
}

if [ "${1:-}" = --compiler ]; then pick_compiler; exit; fi
preset=${1:?usage: tools/build.sh PRESET [TARGET...]}
shift

if [ ! -f "build/$preset/build.ninja" ] || [ -n "${RECONFIGURE:-}" ]; then
  options=()
  if [ "$preset" != fuzz ]; then options+=("-DCMAKE_CXX_COMPILER=$(pick_compiler)"); fi
  if command -v ccache >/dev/null; then options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  mkdir -p build
  if ! cmake --preset "$preset" "${options[@]}" >"build/$preset.configure.log" 2>&1; then
    cat "build/$preset.configure.log" >&2
    echo "build: cmake could not configure preset '$preset' (above)" >&2
    exit 1
  fi
fi

targets=()
if [ $# -gt 0 ]; then targets=(--target "$@"); fi
NINJA_STATUS="${NINJA_STATUS:-[$preset %f/%t %es] }" cmake --build "build/$preset" -j "${JOBS:-$(nproc)}" "${targets[@]}"

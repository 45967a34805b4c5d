#!/usr/bin/env bash
# Everything CI runs, in order of how soon it can fail: checks, dev build (address + undefined sanitizers) and its tests,
# thread sanitizer over the threading tests, fuzzing, release build and its tests. Stops at the first failure.
#   tools/test.sh [STAGE...]     stages: checks dev tsan fuzz release (default: all)
# TENON_SHARED names the folder with models and data (default: ../shared); tests that need it skip, saying so, without it.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly jobs=${JOBS:-$(nproc)}
stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(checks dev tsan fuzz release)

if [ -z "${TENON_SHARED:-}" ] && [ -d ../shared ]; then TENON_SHARED=$(cd ../shared && pwd); fi
if [ -n "${TENON_SHARED:-}" ]; then
  export TENON_SHARED
else
  echo '*** no ../shared and TENON_SHARED is not set: tests on real models and data WILL BE SKIPPED ***'
fi
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:allocator_may_return_null=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

# Configuring again notices test files that were added and GoogleTest installed since.
build() { RECONFIGURE=1 JOBS=$jobs tools/build.sh "$@"; }

# The CUDA kernels are compiled, not run; without NVRTC that test skips itself.
if TENON_NVRTC=$(tools/nvrtc.sh); then
  export TENON_NVRTC
else
  echo '*** no NVRTC: the CUDA kernels WILL NOT BE COMPILED ***'
fi

run_ctest() {  # preset, then further options of ctest
  local preset=$1
  shift
  ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure --no-tests=error --timeout 900 "$@"
}

stage_checks() { tools/checks.sh; }
stage_dev() {
  build dev || return 1
  if ! run_ctest dev >build/dev.ctest.log 2>&1; then
    grep -vE '^ *[0-9]+/[0-9]+ .* Passed|^ *Start ' build/dev.ctest.log
    return 1
  fi
  tail -n 4 build/dev.ctest.log
}
stage_tsan() {
  # Only what runs threads: the pool (base) and the sessions (runtime).
  local targets=() layer
  for layer in base runtime; do
    if compgen -G "tests/unit/${layer}_*_test.cpp" >/dev/null; then targets+=("${layer}_tests"); fi
  done
  [ ${#targets[@]} -gt 0 ] || { echo 'tsan: no threading tests'; return 0; }
  build tsan "${targets[@]}" || return 1
  # Address space layout with more than 28 random bits breaks the thread sanitizer of older compilers; setarch turns it off.
  for target in "${targets[@]}"; do
    setarch "$(uname -m)" -R "build/tsan/$target" --gtest_brief=1 || return 1
  done
}
stage_fuzz() { tools/fuzz.sh "${SECONDS_EACH:-60}"; }
stage_release() {
  build release && tools/check_docs.py || return 1
  if [ -n "${TENON_SHARED:-}" ] && ! tools/peers.sh >/dev/null; then
    echo '*** no ONNX Runtime to compare with: the tests on real models WILL BE SKIPPED ***'
  fi
  run_ctest release
}

summary=()
for stage in "${stages[@]}"; do
  echo "=== $stage ==="
  begin=$SECONDS
  if ! "stage_$stage"; then
    echo "=== $stage FAILED after $((SECONDS - begin)) s ==="
    exit 1
  fi
  summary+=("$stage $((SECONDS - begin)) s")
  if [ "$stage" != release ]; then echo "=== ${summary[-1]} ==="; fi
done
# The closing lines of the last ctest stay at the very end: they are what a reader (and CI) looks for.

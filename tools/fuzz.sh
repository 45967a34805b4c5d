#!/usr/bin/env bash
# Builds the libFuzzer targets (tests/fuzz/*.cpp, preset fuzz) and runs each for a while, as many at once as there are
# cores. A finding stops with its input's name: run that binary on that file to repeat it.
#   tools/fuzz.sh [SECONDS_EACH] [TARGET...]        TARGET as in tests/fuzz/TARGET.cpp
# The corpus grows in build/fuzz-corpus/TARGET, starting from tests/fuzz/corpus/TARGET where that exists.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in tests/fuzz/*.cpp; do
    if [ -f "$file" ]; then targets+=("$(basename "$file" .cpp)"); fi
  done
fi
if [ ${#targets[@]} -eq 0 ]; then
  echo 'fuzz: there are no targets (tests/fuzz/*.cpp)'
  exit 0
fi
RECONFIGURE=1 tools/build.sh fuzz "${targets[@]/#/fuzz_}"

fuzz_one() {
  local target=$1 seconds=$2
  local corpus=build/fuzz-corpus/$target log=build/fuzz-corpus/$target.log options=()
  mkdir -p "$corpus" build/fuzz-findings
  local folders=("$corpus")
  if [ -d "tests/fuzz/corpus/$target" ]; then folders+=("tests/fuzz/corpus/$target"); fi
  if [ -f "tests/fuzz/$target.dict" ]; then options+=("-dict=tests/fuzz/$target.dict"); fi
  if "build/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
      -print_final_stats=1 -artifact_prefix="build/fuzz-findings/$target-" "${options[@]}" "${folders[@]}" >"$log" 2>&1; then
    echo "fuzz: $target: no finding in $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs"
  else
    tail -n 60 "$log"
    echo "fuzz: $target: FINDING, whole log in $log"
    return 1
  fi
}
export -f fuzz_one
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'fuzz_one "$1" "$2"' _ {} "$seconds"

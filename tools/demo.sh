#!/usr/bin/env bash
# The demo: fetch two networks and two pictures, build Tenon, time it beside ONNX Runtime, look at the results.
# Every command is shown before it runs, so that it can be typed again. Results go to demo-out/.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly tenon=build/release/tenon demo=.cache/demo out=demo-out
readonly face=$demo/centerface.onnx face_shape=input.1:1x3x512x512
readonly text=$demo/PP-OCRv6_rec_small.onnx text_shape=x:1x3x48x320
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() {
  printf '%s$ %s%s\n' "$bold" "$*" "$plain"
  "$@"
}

say '1. Models and pictures'
tools/fetch_demo.py

say '2. Tenon'
tools/build.sh release tenon
mkdir -p "$out"

say '3. A network that finds faces: import, optimise, choose the fastest way for each layer here, verify'
# The file says 10x3x32x32, but the network takes any size: --shape says which one is meant.
show "$tenon" build "$face" --shape "$face_shape" -o "$out/centerface.plan"

say '4. Beside ONNX Runtime: one picture at a time, and twenty (faces; then lines of text, PP-OCRv6)'
if python=$(tools/peers.sh); then
  show "$python" bench/headline.py --tenon "$tenon" --batches 1,20 --model "$face" --shape "$face_shape" \
    --model "$text" --shape "$text_shape"
else
  echo 'ONNX Runtime is not available here (above); Tenon alone:'
  show "$tenon" bench "$out/centerface.plan"
fi

say '5. A portrait'
show "$tenon" detect "$out/centerface.plan" "$demo/astronaut.png" -o "$out"

say '6. A scanned page: one network finds the lines, another reads them'
show "$tenon" read "$demo/PP-OCRv6_det_small.onnx" "$text" "$demo/page.png" -o "$out"

say 'Done. Look at the portrait with its face marked, and the page with its lines:'
echo "  $PWD/$out/astronaut.png"
echo "  $PWD/$out/page.png"
cat <<END
Next, with a model of your own:
  $tenon inspect model.onnx
  $tenon bench model.onnx
  $tenon --help
END

#!/usr/bin/env bash
# All models of a folder beside ONNX Runtime and OpenVINO, in one run (bench/speed.py; its --help has the options).
#   tools/bench.sh [OPTION...]      options go to bench/speed.py
set -euo pipefail
cd "$(dirname "$0")/.."
tools/build.sh release tenon
python=$(tools/peers.sh --openvino)
exec "$python" bench/speed.py --tenon build/release/tenon "$@"

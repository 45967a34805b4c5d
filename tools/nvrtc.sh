#!/usr/bin/env bash
# NVRTC for the tests that compile the CUDA kernels (no GPU is needed): the toolkit's where one is installed, else NVIDIA's
# package from PyPI at a pinned version, in a private environment in .cache, made once. Prints the folder of libnvrtc.
#   TENON_NVRTC=$(tools/nvrtc.sh)
set -euo pipefail
cd "$(dirname "$0")/.."

readonly venv=.cache/cuda-venv pin=nvidia-cuda-nvrtc==13.0.88
for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" /usr/local/cuda/lib64; do
  if compgen -G "$folder/libnvrtc.so.1[23]" >/dev/null; then
    echo "$folder"
    exit 0
  fi
done
if [ "$(cat "$venv/pins" 2>/dev/null || true)" != "$pin" ]; then
  echo "nvrtc: installing $pin into $venv (once)" >&2
  mkdir -p .cache
  [ -x "$venv/bin/pip" ] || { rm -rf "$venv"; python3 -m venv "$venv" >&2; }
  if ! "$venv/bin/pip" install -q --disable-pip-version-check --only-binary=:all: "$pin" >.cache/nvrtc.log 2>&1; then
    tail -n 5 .cache/nvrtc.log >&2
    echo 'nvrtc: pip could not install it (above). This needs the network once; try again when it is there.' >&2
    exit 1
  fi
  printf '%s\n' "$pin" >"$venv/pins"
fi
library=$(find "$venv" -name 'libnvrtc.so.1[23]' | head -n 1)
[ -n "$library" ] || { echo "nvrtc: $pin has no libnvrtc.so" >&2; exit 1; }
dirname "$PWD/$library"

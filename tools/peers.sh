#!/usr/bin/env bash
# The private Python environment of the comparison: numpy and ONNX Runtime at pinned versions (tools/peers.txt), and
# OpenVINO on request. Made on demand in .cache/peers-venv, never again while the pins stay the same. Prints its python.
#   python=$(tools/peers.sh [--openvino])
set -euo pipefail
cd "$(dirname "$0")/.."

readonly venv=.cache/peers-venv openvino=openvino==2026.4.1
packages=(-r tools/peers.txt)
pins=$(cat tools/peers.txt)
case "${1:-}" in
  '') ;;
  --openvino) packages+=("$openvino"); pins+=$'\n'$openvino ;;
  *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

# The stamp is written last, so that an interrupted installation starts again. One with OpenVINO serves without it too.
case "$(cat "$venv/pins" 2>/dev/null || true)" in
  "$pins"*) ;;
  *)
    printf 'peers: installing into %s (once):%s\n' "$venv" "$(sed 's/;.*//; /^#/d' <<<"$pins" | sort -ru -t= -k1,1 | tr '\n' ' ' | sed 's/^/ /')" >&2
    mkdir -p .cache
    [ -x "$venv/bin/pip" ] || { rm -rf "$venv"; python3 -m venv "$venv" >&2; }
    if ! "$venv/bin/pip" install -q --disable-pip-version-check --only-binary=:all: "${packages[@]}" >.cache/peers.log 2>&1; then
      tail -n 5 .cache/peers.log >&2
      echo 'peers: pip could not install them (above). This needs the network once; try again when it is there.' >&2
      exit 1
    fi
    printf '%s\n' "$pins" >"$venv/pins" ;;
esac
echo "$PWD/$venv/bin/python"

#!/usr/bin/env bash
# The quick checks: includes go downwards, formatting, file lengths, headers that compile alone, shell scripts.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/check_layers.py --self-test
tools/check_layers.py
tools/check_sizes.py
tools/format.sh --check
tools/check_headers.sh
if command -v shellcheck >/dev/null; then shellcheck -S warning tools/*.sh .ci/run; fi

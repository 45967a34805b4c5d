#!/usr/bin/env bash
# Installs what a command needs: Debian and Ubuntu packages, by name, only those that are missing.
#   tools/setup.sh --for build|test|demo|fuzz|lint [--for ...]
# As root or with sudo it installs; otherwise it prints the line to type and fails. Says nothing when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

packages_for() {  # package: why
  case "$1" in
    build) cat <<'END'
g++: compiler
cmake: build
ninja-build: build
pkg-config: finding libraries
libfmt-dev: text formatting
libhwy-dev: vector instructions
libcli11-dev: command line
nlohmann-json3-dev: JSON
libprotozero-dev: reading ONNX
libxxhash-dev: checksums
libzip-dev: npz files
libre2-dev: regular expressions
libturbojpeg0-dev: JPEG
libpng-dev: PNG
END
    ;;
    test) cat <<'END'
python3: checks
python3-venv: pinned clang-format
ca-certificates: downloads
git: file lists
libgtest-dev: unit tests
libgmock-dev: unit tests
libwebp7: ImageDecoder
zstd: unpacking the ONNX tests
END
    ;;
    demo) cat <<'END'
python3: fetching, comparison
python3-venv: private environment
ca-certificates: downloads
END
    ;;
    fuzz) cat <<'END'
clang: libFuzzer
libclang-rt-dev: libFuzzer
llvm: readable stacks
END
    ;;
    lint) cat <<'END'
clang-tidy: static analysis
python3: driver
git: changed files
END
    ;;
    *) return 1 ;;
  esac
}

usage() { sed -n '2,4s/^# \{0,1\}//p' "$0"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

wanted=''
while [ $# -gt 0 ]; do
  case "$1" in
    --for)
      wanted+=$(packages_for "${2:-}")$'\n' || { usage >&2; exit 2; }
      shift 2 ;;
    -h|--help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

# Highway below 1.0 (Ubuntu 22.04 has 0.16) lacks operations the kernels use.
check_highway() {
  local version
  command -v pkg-config >/dev/null || return 0
  version=$(pkg-config --modversion libhwy 2>/dev/null) || return 0
  case "$version" in
    0.*) die "Highway $version is too old, Tenon needs 1.0 or newer (Debian 12, Ubuntu 24.04 and later have it).
       On this system, install Highway 1.x from its source and set CMAKE_PREFIX_PATH to where it went." ;;
  esac
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo 'setup: no apt here; these must be installed by other means:' >&2
  printf '%s\n' "$wanted" | sort -u | sed '/^$/d; s/^/  /' >&2
  exit 0
fi

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# A compiler older than g++ 12 (Ubuntu 22.04 has 11 as its default) gets a newer one beside it; tools/build.sh finds it.
if [ "$wanted" != "${wanted#*g++:}" ] && command -v g++ >/dev/null && [ "$(g++ -dumpversion | cut -d. -f1)" -lt 12 ] &&
   ! tools/build.sh --compiler >/dev/null 2>&1; then
  wanted+=$'\ng++-12: newer compiler'
fi

missing=()
reasons=()
while IFS= read -r line; do
  [ -n "$line" ] || continue
  package="${line%%: *}"
  installed "$package" && continue
  missing+=("$package")
  reasons+=("$(printf '  %-20s %s' "$package" "${line#*: }")")
done <<<"$(printf '%s\n' "$wanted" | sort -u -t: -k1,1)"

if [ ${#missing[@]} -eq 0 ]; then
  check_highway
  exit 0
fi

echo "setup: ${#missing[@]} package(s) are missing:"
printf '%s\n' "${reasons[@]}"
install_line="apt-get install -y --no-install-recommends ${missing[*]}"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=(sudo)
  else
    die "not root, and no sudo that works without asking. Please type:
  su -c 'apt-get update && $install_line'"
  fi
fi
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=180 -o Acquire::Retries=3 \
    -o APT::Color=0 "$@"
}

mkdir -p .cache
log=.cache/setup.log
if ! apt install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
  # Lists that are missing or old: refresh them once.
  apt update >>"$log" 2>&1 && apt install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 || {
    tail -n 4 "$log" >&2
    if grep -qE 'Could not resolve|Temporary failure|Could not connect|Network is unreachable|Failed to fetch' "$log"; then
      die "the package archive cannot be reached. With a network, type this and try again:
  apt-get update && $install_line"
    fi
    die "apt could not install them (whole output: $log). The line was:
  $install_line"
  }
fi
# An apt that only warns about unreachable lists still exits 0.
for package in "${missing[@]}"; do
  installed "$package" || die "$package is still missing after apt (see $log)"
done
check_highway

#!/usr/bin/env bash
# Tries the commands on a fresh system: a minimal Debian in build/fresh/SUITE with nothing but git and make added, a clean
# clone of the last commit in it, and the commands run there as root.
#   tools/try_fresh.sh bookworm|trixie [COMMAND...]       default command: 'make build'
#   tools/try_fresh.sh trixie 'make build' 'make demo'
# Needs root and debootstrap. The minimal system is kept (build/fresh/SUITE.base), each try starts from a copy of it.
# KEEP=1 goes on with the system of the last try. A ../shared folder is made visible beside the clone.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${1:?usage: tools/try_fresh.sh bookworm|trixie [COMMAND...]}
shift
commands=("$@")
[ ${#commands[@]} -gt 0 ] || commands=('make build')
[ "$(id -u)" -eq 0 ] || { echo 'try_fresh: needs root (debootstrap and chroot)' >&2; exit 1; }
command -v debootstrap >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -qy debootstrap >/dev/null

base=build/fresh/$suite.base
root=$PWD/build/fresh/$suite
mkdir -p build/fresh
if [ ! -f "$base/.complete" ]; then
  echo "try_fresh: making a minimal $suite (once)"
  rm -rf "$base"
  debootstrap --variant=minbase "$suite" "$base" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$base.log" 2>&1 ||
    { tail -n 20 "$base.log" >&2; exit 1; }
  touch "$base/.complete"
fi

mounts=()
leave() {
  local mount
  for mount in "${mounts[@]}"; do umount "$mount" 2>/dev/null || umount -l "$mount"; done
}
trap leave EXIT
if grep -q " $root/" /proc/mounts; then
  echo "try_fresh: $root is in use by another try" >&2
  exit 1
fi
if [ -z "${KEEP:-}" ] || [ ! -d "$root" ]; then
  rm -rf "$root"
  cp -a "$base" "$root"
  # Networks that inspect TLS need their own certificate here as outside.
  if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
  fi
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/proc" "$root/dev" "$root/work/shared"
mount -t proc proc "$root/proc" && mounts=("$root/proc" "${mounts[@]}")
mount --bind /dev "$root/dev" && mounts=("$root/dev" "${mounts[@]}")
shared=${TENON_SHARED:-../shared}
if [ -d "$shared" ]; then
  mount --bind "$shared" "$root/work/shared" && mounts=("$root/work/shared" "${mounts[@]}")
  mount -o remount,bind,ro "$root/work/shared"
fi

inside() {
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    ${PIP_CERT:+PIP_CERT=/etc/ssl/certs/ca-certificates.crt} chroot "$root" bash -c "$1"
}
inside 'apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends git make ca-certificates' \
  >"build/fresh/$suite.apt.log" 2>&1 || { tail -n 20 "build/fresh/$suite.apt.log" >&2; exit 1; }
if [ -z "${KEEP:-}" ] || [ ! -d "$root/work/tenon" ]; then
  rm -rf "$root/work/tenon"
  git bundle create -q "$root/work/tenon.bundle" HEAD
  inside 'git -c advice.detachedHead=false clone -q /work/tenon.bundle /work/tenon'
fi
for command in "${commands[@]}"; do
  echo "try_fresh: $suite: $command"
  begin=$SECONDS
  inside "cd /work/tenon && $command" </dev/null || { echo "try_fresh: $suite: FAILED: $command ($((SECONDS - begin)) s)"; exit 1; }
  echo "try_fresh: $suite: ok: $command ($((SECONDS - begin)) s)"
done

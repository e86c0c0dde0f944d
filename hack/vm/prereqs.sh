#!/usr/bin/env bash
# prereqs.sh [--install] — check that this machine can run virtual machines; say what is missing. With --install, get the missing
# Debian packages, saying so. They are about 200 MB, and nothing but hack/vm needs them.
set -euo pipefail
packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); }
export PATH=$PATH:/usr/sbin:/sbin
need qemu-system-x86_64 qemu-system-x86
need mmdebstrap mmdebstrap
need mke2fs e2fsprogs
need ssh openssh-client
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "${1:-}" != --install ] || ! command -v apt-get >/dev/null; then
  echo "vm: missing: ${packages[*]} (Debian's packages). Get them with: apt-get install -y --no-install-recommends ${packages[*]}" >&2
  exit 1
fi
echo "vm: installing: ${packages[*]}" >&2
apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2

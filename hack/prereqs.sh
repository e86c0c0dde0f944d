#!/usr/bin/env bash
# prereqs.sh [--install] [apps] — check that this machine can run local clusters and node tests, and can make the images of real
# applications (apps); say in one message what is missing and how to get it. With --install, get the missing Debian packages, saying so.
#
# Go is expected, since everything here is started by it. gcc and libseccomp are for runc, the pause program and the shim. With
# MINIPLANE_PREBUILT set nothing is compiled here, and none of them is asked for.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin # where iptables is, and a plain su does not look
fail() { echo "prereqs: $*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "a local cluster needs Linux (network namespaces, cgroups, iptables); this is $(uname -s). Use a Linux machine, or kind."
[ "$(id -u)" = 0 ] || fail "a local cluster needs root, to make network namespaces and containers. Try: sudo -E env PATH=\"\$PATH\" make ${MAKECMDGOALS:-cluster-up}"

# Pairs of what is needed and the Debian package that has it.
packages=() names=()
need() { names+=("$1"); packages+=("$2"); }
has() { command -v "$1" >/dev/null; }
compiles() { [ -z "${MINIPLANE_PREBUILT:-}" ]; }
! compiles || has go || fail "Go is missing; https://go.dev/dl has it (go.mod says which version)"
has ip || need ip iproute2
has iptables && has iptables-restore || need iptables iptables
has conntrack || need conntrack conntrack
has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || need "a static busybox" busybox-static
has flock || need flock util-linux
[ "${!#}" != apps ] || has mmdebstrap || need mmdebstrap mmdebstrap
if compiles; then
  has gcc || need gcc gcc
  echo '#include <linux/prctl.h>' | gcc -E - >/dev/null 2>&1 || need "the C library's and kernel's headers" libc6-dev
  has pkg-config || need pkg-config pkg-config
  pkg-config --exists libseccomp 2>/dev/null || need "libseccomp's headers" libseccomp-dev
fi

if [ ${#packages[@]} -gt 0 ]; then
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  missing=$(IFS=,; echo "${names[*]}" | sed 's/,/, /g')
  if [ "${1:-}" = --install ] && has apt-get; then
    echo "prereqs: $missing missing; installing: ${packages[*]}" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
  elif has apt-get; then
    fail "missing: $missing. Get it with: apt-get install -y --no-install-recommends ${packages[*]}"
  else
    fail "missing: $missing. In Debian these are the packages ${packages[*]}; your distribution has them under similar names."
  fi
fi

# What no package can give.
unshare --net true 2>/dev/null || fail "this machine does not let root make network namespaces (unshare --net fails); inside a container, run it with --privileged."
reason=$(unshare --net iptables -t nat -S 2>&1 >/dev/null) || fail "iptables does not work here: $reason"
[ -e /sys/fs/cgroup/cgroup.controllers ] || [ -e /sys/fs/cgroup/pids/cgroup.procs ] ||
  fail "no cgroups below /sys/fs/cgroup: neither version 2 nor the pids controller of version 1 is mounted."

#!/usr/bin/env bash
# shim.sh — build the shim's server (cmd/shim) for this machine, and print the directory that holds it.
# Kept in the user's cache, one directory per version of its source. It is static, and a cgo program: it needs Go, gcc (or another
# CC), pkg-config and libseccomp with its static library (Debian: libseccomp-dev).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MINIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/miniplane}
cd "$root"

sources=(cmd/shim nodeagent/runtime/containerd/shim nodeagent/runtime/cgroup nodeagent/thread)
bin=$cache/shim-$(find "${sources[@]}" -name '*.go' ! -name '*_test.go' | LC_ALL=C sort | xargs cat go.mod "hack/shim.sh" | sha256sum | cut -c1-12)
if [ ! -x "$bin/shim" ]; then
  mkdir -p "$bin"
  tmp=$bin/.shim.$$
  CGO_ENABLED=1 go build -trimpath -tags "seccomp netgo osusergo" -ldflags '-s -w -extldflags "-static"' -o "$tmp" ./cmd/shim >&2
  mv "$tmp" "$bin/shim" # into place only when whole
fi
echo "$bin"

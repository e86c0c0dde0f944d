#!/usr/bin/env bash
# lint.sh — build golangci-lint with the Kubernetes API linter, as pinned by hack/tools/go.mod, once per machine, and print
# where it is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MINIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/miniplane}
out=$cache/lint-$(cat "$here"/tools/{go.mod,main.go} | sha256sum | cut -c1-12)
if [ ! -x "$out" ]; then
  mkdir -p "$cache"
  echo "lint: building the linters (once; kept in $cache)" >&2
  (cd "$here/tools" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out.tmp" .)
  mv "$out.tmp" "$out"
fi
echo "$out"

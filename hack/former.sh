#!/usr/bin/env bash
# former.sh COMMIT — build the agent, pause and shim of an earlier version, and print the directory that holds them: for tests of
# upgrades (MINIPLANE_TEST_FORMER). Kept in the user's cache, one directory per commit.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${MINIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/miniplane}
commit=$(git -C "$root" rev-parse --verify --short=12 "${1:?usage: hack/former.sh COMMIT}^{commit}")
bin=$cache/former-$commit
if [ ! -x "$bin/nodeagent" ]; then
  tree=$(mktemp -d)
  trap 'git -C "$root" worktree remove --force "$tree" >&2 || true; rm -rf "$tree"' EXIT
  git -C "$root" worktree add --quiet --detach "$tree" "$commit" >&2
  mkdir -p "$bin"
  cp "$("$tree/hack/pause.sh")/pause" "$("$tree/hack/shim.sh")/shim" "$bin/"
  (cd "$tree" && go build -o "$bin/.nodeagent" ./cmd/nodeagent) >&2
  mv "$bin/.nodeagent" "$bin/nodeagent" # the last, and into place only when whole
fi
echo "$bin"

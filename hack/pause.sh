#!/usr/bin/env bash
# pause.sh — build the pause program (cmd/pause) for this machine, and print the directory that holds it.
# Kept in the user's cache, one directory per version of its source. Needs gcc (or another CC) and the kernel's headers.
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../cmd/pause" && pwd)
cache=${MINIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/miniplane}

bin=$cache/pause-$(cat "$source"/*.[ch] "${BASH_SOURCE[0]}" | sha256sum | cut -c1-12)
if [ ! -x "$bin/pause" ]; then
  mkdir -p "$bin"
  tmp=$bin/.pause.$$
  "${CC:-gcc}" -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-pie -no-pie -fno-asynchronous-unwind-tables \
    -fno-tree-loop-distribute-patterns -Wall -Wextra -Werror -Wl,--build-id=none -Wl,-z,noexecstack -s \
    -o "$tmp" "$source"/pause.c "$source"/log.c "$source"/file.c "$source"/shim.c >&2
  mv "$tmp" "$bin/pause" # into place only when whole
fi
echo "$bin"

#!/usr/bin/env bash
# payload.sh PART ... — build everything that the parts of the tests need in a machine, and put it on a disk with a copy of this
# clone: .local/vm/payload.ext4. A machine mounts it at the clone's own path, so that test binaries, which know their source by its
# path, and the scripts of hack/ work there as here. Nothing is compiled in a machine: MINIPLANE_PREBUILT says that it is there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
. "$here/parts.sh"
state=$root/.local/vm staging=$root/.local/vm/staging
rm -rf "$staging"
mkdir -p "$staging/.vm/tests" "$staging/.vm/cache" bin
start=$SECONDS

packages=() assets=() cluster=
for part in "$@"; do
  mapfile -t -O "${#packages[@]}" packages < <(part_packages "$part")
  case $part in
    e2e|clock) cluster=1; assets+=(etcd kube-apiserver kube-controller-manager kubectl containerd containerd-shim-runc-v2 ctr runc) ;;
    node) assets+=(etcd kube-apiserver containerd containerd-shim-runc-v2 runc); go build -o bin/nodeagent-for-tests ./cmd/nodeagent ;;
    runtime|conformance) assets+=(containerd containerd-shim-runc-v2 runc) ;;
    agent) assets+=(etcd kube-apiserver containerd containerd-shim-runc-v2 runc) ;;
  esac
done
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

# Test binaries, one by one: what a package's is called must not depend on which others are built.
for package in "${packages[@]}"; do [ -z "$package" ] || go test -c -o "$staging/.vm/tests/$(part_binary "$package")" "./$package"; done
if [ -n "$cluster" ]; then
  go build -o bin/ ./hack/cluster ./hack/registry ./test/images/echo ./cmd/manager ./cmd/nodeagent ./test/faults
  go run ./hack/image -o .local/images echo busybox
fi

# The clone, and what scripts of hack/ find in the cache. cp -l: nothing is copied that need not be.
git ls-files -co --exclude-standard -z | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done | xargs -0 cp -al --parents -t "$staging"
cp -aL bin "$staging/"
[ -z "$cluster" ] || cp -al --parents -t "$staging" .local/images
dirs=("$(hack/pause.sh)" "$(hack/shim.sh)")
[ ${#assets[@]} = 0 ] || dirs+=("$(hack/assets.sh "${assets[@]}")")
for dir in "${dirs[@]}"; do
  mkdir -p "$staging/.vm/cache/$(basename "$dir")"
  for f in "$dir"/*; do
    case " ${assets[*]} pause shim " in *" $(basename "$f") "*) cp -L "$f" "$staging/.vm/cache/$(basename "$dir")/" ;; esac
  done
done
if [ -n "${VM_CONTAINERD:-}" ]; then # another release of containerd, for the tests that start their own
  mkdir -p "$staging/.vm/containerd"
  cp -L "$VM_CONTAINERD"/* "$staging/.vm/containerd/"
fi
if [ -n "${FROM:-}" ]; then # an earlier version, for the tests of upgrades
  mkdir -p "$staging/.vm/former"
  cp -L "$(hack/former.sh "$FROM")"/* "$staging/.vm/former/"
fi

size=$(du -sm "$staging" | cut -f1)
rm -f "$state/payload.ext4"
truncate -s "$((size + size / 8 + 4096))M" "$state/payload.ext4"
mke2fs -qF -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -m 0 -d "$staging" "$state/payload.ext4"
rm -rf "$staging"
echo "vm: built the tests in $((SECONDS - start)) s ($size MB)" >&2

#!/usr/bin/env bash
# faults.sh — the campaign of faults: on a full cluster of this machine, with miniplane installed as anybody installs it, and on a
# local one for what needs several nodes. See docs/reliability.md.
#
#   ONLY=agent,shim-stop   these faults (bin/faults -list names them)
#   ON=full                on one kind of cluster only: full, local, or vm, which is a local one in a virtual machine
#   SHORT=1                each a few times; the table is then left in .local/faults
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export KUBECONFIG=$PWD/.local/kubeconfig
down() { make --no-print-directory cluster-down; }

go build -o bin/faults ./test/faults
flags=(-only "${ONLY:-}")
if [ -n "${SHORT:-}" ]; then
  flags+=(-short)
else
  flags+=(-store docs/reliability/latest.json -doc docs/reliability.md)
fi
wants() { bin/faults -list ${ONLY:+-only "$ONLY"} | awk '{print $2}' | tr , '\n' | grep -qx "$1"; }

status=0
for on in ${ON:-full local vm}; do
  wants "$on" || continue
  if [ "$on" = vm ]; then # for what belongs to all that runs on a machine
    VM_MEMORY=${VM_MEMORY:-4096} make --no-print-directory test-vm PARTS=clock || status=$?
    bin/faults -from .local/vm/logs/clock.json "${flags[@]}" || status=$?
    continue
  fi
  down
  trap down EXIT
  if [ "$on" = full ]; then
    go run ./hack/image -o .local/images miniplane >&2
    make --no-print-directory cluster-up MODE=full
    # A disk of its own for the agent, which can be full without harm to anybody else's. It goes with the cluster.
    mount -t tmpfs -o size=256m,mode=755 tmpfs /var/lib/miniplane
    mount --make-shared /var/lib/miniplane
    # The registry that lies is the campaign's own: test/faults/registry.go.
    hack/install.sh --registry 100.127.255.1:5001 --cpu 1200m --memory 2Gi >&2
  else
    make --no-print-directory cluster-up NODES=3
  fi
  bin/faults -on "$on" "${flags[@]}" || status=$?
done
exit $status

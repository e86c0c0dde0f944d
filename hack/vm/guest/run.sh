#!/usr/bin/env bash
# run.sh PART [TEST-FLAG ...] — run a part of the tests in a machine, from the copy of the clone that is here.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
root=$PWD part=$1; shift
. hack/vm/parts.sh
export CI=true MINIPLANE_PREBUILT=1 MINIPLANE_CACHE=$root/.vm/cache HOME=/root PATH=$PATH:/usr/sbin:/sbin TMPDIR=/var/tmp
[ ! -e .vm/containerd ] || export MINIPLANE_TEST_CONTAINERD_DIR=$root/.vm/containerd
[ ! -e .vm/former ] || export MINIPLANE_TEST_FORMER=$root/.vm/former
# An emulated machine is many times slower: the patience of tests is longer by a factor, and so is the time that an
# API server has to come up in. The product's own are not.
[ "$(systemd-detect-virt)" = kvm ] || export MINIPLANE_SLOW="${MINIPLANE_SLOW:-10}" KUBEBUILDER_CONTROLPLANE_START_TIMEOUT=10m
status=0
if [ "$part" = e2e ] || [ "$part" = clock ]; then
  bin/cluster up -nodes "${NODES:-$([ "$part" = e2e ] && echo 3 || echo 2)}" || exit 1
  PATH=$(hack/assets.sh kubectl):$PATH
fi
for package in $(part_packages "$part"); do
  echo "=== PACKAGE $package"
  (cd "$package" && "$root/.vm/tests/$(part_binary "$package")" -test.v -test.timeout 60m $(part_flags "$part") "$@") || status=1
done
if [ "$part" = clock ]; then bin/faults -on vm -only clock -pods "${PODS:-24}" ${SHORT:+-short} -store .vm/clock.json || status=1; fi
if [ "$part" = e2e ] || [ "$part" = clock ]; then bin/cluster down || status=1; fi
exit $status

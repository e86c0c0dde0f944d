#!/usr/bin/env bash
# e2e-full.sh [GO TEST FLAG ...] — the end-to-end suite on a full cluster of this machine, on which miniplane is installed, and
# uninstalled, as on any other. First the tests of that (test/install), which begin and end without miniplane; then the suite. SHORT=1
# leaves out what takes minutes and is the same on a local cluster.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$(hack/assets.sh kubectl helm):$PATH
export PATH KUBECONFIG=$PWD/.local/kubeconfig E2E_SUBSTRATE=full
down() { make --no-print-directory cluster-down; }

hack/prereqs.sh --install apps
down
go run ./hack/image -o .local/images miniplane apps
trap down EXIT
make --no-print-directory cluster-up MODE=full
[ $# -gt 0 ] || go test -count=1 -timeout 15m -v ./test/install
# MiniPods' images went with the last uninstallation.
for image in echo busybox apps; do make --no-print-directory image-load TAR=.local/images/$image.tar; done
# The tests' MiniPods need more room than the lane has by default.
hack/install.sh --registry 100.127.255.1:5000 --cpu 1200m --memory 4Gi
# MiniPods beside native Pods of the same histories: a part of what make twin compares.
[ $# -gt 0 ] || go test -count=1 -timeout 10m -parallel 6 -short -v ./test/twin
go test -count=1 -timeout 45m -parallel 3 -v ${SHORT:+-short} "$@" ./test/e2e

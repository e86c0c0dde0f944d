#!/usr/bin/env bash
# twin.sh [GO TEST FLAG ...] — run histories as native Pods and as MiniPods on a fresh full cluster, and compare what the API says of them: see
# test/twin.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$(hack/assets.sh kubectl):$PATH
export PATH KUBECONFIG=$PWD/.local/kubeconfig
down() { make --no-print-directory cluster-down; }

down
go run ./hack/image -o .local/images miniplane
trap down EXIT
make --no-print-directory cluster-up MODE=full
# Many at a time need more room than the lane has by default.
hack/install.sh --cpu 1200m --memory 4Gi
go test -count=1 -timeout 30m -parallel 6 -v "$@" ./test/twin

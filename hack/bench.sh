#!/usr/bin/env bash
# bench.sh full|local [FLAG ...] — measure on a fresh cluster of this machine, and take it down. Flags go to test/perf.
#
# full: all of Kubernetes, with miniplane installed as anybody installs it; native Pods and MiniPods side by side.
# local: MiniPods alone, without a kubelet: for engineers who profile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mode=$1; shift
export KUBECONFIG=$PWD/.local/kubeconfig
down() { make --no-print-directory cluster-down; }

go build -o bin/perf ./test/perf
down
trap down EXIT
if [ "$mode" = full ]; then
  go run ./hack/image -o .local/images miniplane >&2
  make --no-print-directory cluster-up MODE=full
  hack/install.sh --memory 4Gi >&2 # a full node's MiniPods need more than the lane has by default
else
  make --no-print-directory cluster-up NODES=1
  set -- -sides mini -limits default "$@"
fi
bin/perf "$@"

#!/usr/bin/env bash
# bench.sh full|local [FLAG ...] — measure on a fresh cluster of this machine, and take it down. Flags go to test/perf.
#
# full: all of Kubernetes, with miniplane installed as anybody installs it; native Pods and MiniPods side by side.
# local: MiniPods alone, without a kubelet: for engineers who profile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mode=$1; shift
export KUBECONFIG=$PWD/.local/kubeconfig
make --no-print-directory cluster-down
trap 'make --no-print-directory cluster-down' EXIT
if [ "$mode" = full ]; then
  go run ./hack/image -o .local/images miniplane >&2
  make --no-print-directory cluster-up MODE=full
  bin/kubectl apply -k config/default >&2
  bin/kubectl -n miniplane-system rollout status deployment/miniplane-manager --timeout=3m >&2
  bin/kubectl -n miniplane-system rollout status daemonset/miniplane-agent --timeout=3m >&2
  bin/kubectl wait mininode/mini-0 --for=condition=Ready --timeout=3m >&2
else
  make --no-print-directory cluster-up NODES=1
  set -- -sides mini -limits default "$@"
fi
go build -o bin/perf ./test/perf
bin/perf "$@"

#!/usr/bin/env bash
# install.sh [--registry HOST:PORT] [--cpu QUANTITY] [--memory QUANTITY] — install miniplane on the cluster of KUBECONFIG as
# docs/install.md says, for tests and measurements, and wait until every agent is ready. The image must be on the nodes.
#
#   --registry       a registry of plain http that agents may pull from
#   --cpu, --memory  the budget of each node's lane, where config/agent's own is not meant
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kubectl=$(hack/assets.sh kubectl)/kubectl
cpu='' memory='' patches=()
while [ $# -gt 0 ]; do
  case $1 in
    --registry) patches+=('{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--insecure-registry='"$2"'"}') ;;
    --cpu) cpu=$2 ;;
    --memory) memory=$2 ;;
    *) sed -n '2,7p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
if [ -n "$cpu$memory" ]; then
  patches+=('{"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests", "value": {"cpu": "'"${cpu:-500m}"'", "memory": "'"${memory:-1Gi}"'"}}')
fi

# A directory of its own with the patches, as docs/install.md has it.
overlay=$(mktemp -d -p .local)
trap 'rm -rf "$overlay"' EXIT
{
  echo "resources: [../../config/default]"
  if [ ${#patches[@]} -gt 0 ]; then
    echo "patches:"
    echo "- target: {kind: DaemonSet, name: miniplane-agent}"
    echo "  patch: '[$(IFS=,; echo "${patches[*]}")]'"
  fi
} >"$overlay/kustomization.yaml"
"$kubectl" apply -k "$overlay"
"$kubectl" -n miniplane-system rollout status deployment/miniplane-manager --timeout=3m
"$kubectl" -n miniplane-system rollout status daemonset/miniplane-agent --timeout=3m
"$kubectl" wait mininodes --all --for=condition=Ready --timeout=1m

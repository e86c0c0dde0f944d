#!/usr/bin/env bash
# kind.sh up|down|logs — a kind cluster for the end-to-end tests, with miniplane installed on it as on any cluster, the test
# images on its nodes, and a registry that the nodes can pull from.
#
#   up     create the cluster, or use the one that is there; build and load the images; kubectl apply -k config/default
#   down   delete the cluster
#   logs   collect the logs of nodes and Pods below .local/logs/kind
#
# Needs docker, kind, kubectl, Go and a static busybox. The node image is the one that kind pulls; where images cannot be
# pulled, KIND_NODE_IMAGE names one that is there already. The kubeconfig is .local/kind.kubeconfig.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=miniplane
control=$name-control-plane
export KUBECONFIG=$PWD/.local/kind.kubeconfig

say() { echo "kind: $*" >&2; }
fail() { say "$*"; exit 1; }
step() { local text=$1 start=$SECONDS; shift; "$@"; say "$text ($((SECONDS - start)) s)"; }

need() {
  local program
  for program in docker kind kubectl go busybox; do
    command -v "$program" >/dev/null || fail "$program is missing; for kind, see https://kind.sigs.k8s.io"
  done
  docker info >/dev/null 2>&1 || fail "docker does not answer: is dockerd running?"
}

create() {
  if kind get clusters 2>/dev/null | grep -qx "$name"; then return; fi
  mkdir -p .local
  kind create cluster --name "$name" --config hack/kind.yaml --wait 120s ${KIND_NODE_IMAGE:+--image "$KIND_NODE_IMAGE"}
  kubectl taint node "$control" node-role.kubernetes.io/control-plane- # the tests want MiniPods on three nodes
}

# The nodes have no busybox, which the tests fetch with, and no registry: both are static programs.
programs() {
  local node
  CGO_ENABLED=0 GOOS=linux go build -trimpath -o .local/kind-registry ./hack/registry
  for node in "${nodes[@]}"; do docker cp -q "$(command -v busybox)" "$node:/usr/local/bin/busybox"; done
  docker cp -q .local/kind-registry "$control:/usr/local/bin/registry"
  docker cp -q .local/images/echo.tar "$control:/var/lib/registry-echo.tar"
  docker exec "$control" pgrep -x registry >/dev/null ||
    docker exec -d "$control" sh -c 'exec registry -listen :5000 -images /var/lib/registry-echo.tar >/var/log/registry.log 2>&1'
}

# load NODE: miniplane's own image for the kubelet, the tests' for MiniPods, which live in a namespace of their own in
# the node's containerd.
load() {
  local image
  import_image "$1" k8s.io miniplane
  for image in echo busybox; do
    import_image "$1" k8s.io "$image"
    import_image "$1" miniplane "$image"
  done
}
import_image() { docker exec -i "$1" ctr --namespace "$2" images import --all-platforms --digests - <".local/images/$3.tar" >/dev/null; }

load_all() {
  local node jobs=()
  for node in "${nodes[@]}"; do load "$node" & jobs+=($!); done
  for job in "${jobs[@]}"; do wait "$job" || fail "an image could not be loaded"; done
}

up() {
  need
  step "a cluster of three nodes" create
  mapfile -t nodes < <(kind get nodes --name "$name")
  step "images are built" go run ./hack/image -o .local/images echo busybox miniplane
  step "programs are on the nodes" programs
  step "images are on the nodes" load_all
  # The suite's registry speaks plain http, which agents have to be told.
  step "miniplane is installed" hack/install.sh --registry "$control:5000"
  say "KUBECONFIG=$KUBECONFIG"
}

down() {
  command -v kind >/dev/null && docker info >/dev/null 2>&1 || return 0 # then there is none
  kind delete cluster --name "$name"
}

logs() { kind export logs .local/logs/kind --name "$name"; }

case ${1:-} in
  up | down | logs) "$1" ;;
  *) sed -n '2,11p' "$0" >&2; exit 2 ;;
esac

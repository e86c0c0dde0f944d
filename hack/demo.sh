#!/usr/bin/env bash
# demo.sh — show miniplane at work on a local cluster: samples that run, and a service that answers through its virtual IP
# and on its node port. Leaves it all running, and says what to try next. Each step tells how long it took.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export KUBECONFIG=$PWD/.local/kubeconfig
kubectl() { bin/kubectl "$@"; }
begun=${EPOCHREALTIME/./}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
since() { local now=${EPOCHREALTIME/./}; printf '%d.%d s' $(((now - $1) / 1000000)) $(((now - $1) / 100000 % 10)); }
# step TEXT COMMAND...: run it, and tell how long it took.
step() { local text=$1 start=${EPOCHREALTIME/./}; shift; say "$text"; "$@"; echo "($(since "$start"))"; }

fetch() { if command -v curl >/dev/null; then curl -sS --max-time 5 "$1"; else timeout 5 busybox wget -qO- "$1"; fi; }

apply_samples() {
  for kind in miniquota minideployment miniservice minipod minireplicaset; do
    show kubectl apply -f "config/samples/$kind.yaml"
  done
}
wait_running() {
  show kubectl wait minideployment/web --for=condition=Available --timeout=60s
  kubectl wait minipods --all --for=condition=Ready --timeout=60s >/dev/null
  show kubectl get minideployments,minireplicasets,minipods,miniservices,miniquotas -o wide
}
ask_virtual_ip() {
  local ip port
  ip=$(kubectl get miniservice web -o jsonpath='{.status.clusterIP}')
  port=$(kubectl get miniservice web -o jsonpath='{.spec.ports[0].port}')
  local line="for i in 1 2 3 4 5 6; do timeout 5 busybox wget -qO- http://$ip:$port/; done"
  for node in mini-0 mini-1; do
    printf "$ make cluster-exec NODE=%s CMD='%s'\n" "$node" "$line"
    bin/cluster exec "$node" "$line"
  done | tee "$answers"
  echo "$(grep -o 'host=[^ ]*' "$answers" | sort -u | wc -l) different MiniPods answered"
}
ask_node_port() {
  local port
  port=$(kubectl get miniservice web -o jsonpath='{.status.ports[0].nodePort}')
  for address in $(kubectl get nodes -o jsonpath='{.items[*].status.addresses[?(@.type=="InternalIP")].address}'); do
    echo "\$ curl http://$address:$port/"
    fetch "http://$address:$port/"
  done
}

answers=$(mktemp)
trap 'rm -f "$answers"' EXIT

step "A local cluster: two nodes, each a network namespace with a containerd and an agent" bin/cluster up -nodes 2
step "Images, built from this repository, onto the nodes" make --no-print-directory image-load TAR=.local/images/echo.tar
step "The samples" apply_samples
step "MiniPods that run" wait_running
step "The service, from the nodes, through its virtual IP: a random backend each time" ask_virtual_ip
step "The service, from this machine, on its node port" ask_node_port

say "All of it took $(since "$begun"). The cluster goes on running. What to try next:"
cat <<EOF
  export KUBECONFIG=$KUBECONFIG PATH=$PWD/bin:\$PATH
  kubectl get all
  kubectl scale minideployment web --replicas=20 && kubectl get mdeploy web -w
  kubectl patch minideployment web --type=json -p '[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"miniplane.dev/echo:v2"}]'
  kubectl describe minipod hello
  make cluster-up NODES=3            # a third node joins
  bin/cluster node-stop mini-1       # pull a node's plug, and watch its MiniPods move
  make cluster-down                  # stop, and leave nothing behind
EOF

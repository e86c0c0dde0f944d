#!/usr/bin/env bash
# assets.sh [NAME ...] — make sure that the named outside programs exist, and print the directory that holds them.
#
# Tests and local clusters run the real etcd, Kubernetes, containerd, runc, CNI plugins and helm. They are built from their Go
# modules, pinned by the go.mod files under hack/assets, into the user's cache, so that only the first start on a machine pays.
# KUBEBUILDER_ASSETS, when set, is preferred for etcd and kube-apiserver. Needs Go; runc also gcc, pkg-config and libseccomp.
#
# CONTAINERD=1.7 gives containerd, its shim and ctr of that release line in place of the newest (hack/assets/containerd-1.7), to
# tests and local clusters alike, because they all ask here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MINIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/miniplane}
say() { echo "assets: $*" >&2; }

kube_version=$(sed -n 's#.*k8s.io/kubernetes \(v[0-9.]*\).*#\1#p' "$here/assets/kubernetes/go.mod" | head -n 1)
helm_version=$(sed -n 's#.*helm.sh/helm/v4 \(v[0-9.]*\).*#\1#p' "$here/assets/helm/go.mod")

# What is used is one directory per set of all pins: a changed pin is a new directory, never a half-old one. What is built is
# kept per module, and linked from there, so that a changed pin costs only the programs of its own module.
pins=$(cat "$here"/assets/*/go.mod | sha256sum | cut -c1-12)
bin=$cache/bin-$pins
case ${CONTAINERD:-} in
  "") containerd=containerd ;;
  1.7) containerd=containerd-1.7 bin=$bin-containerd-1.7 ;;
  *) say "CONTAINERD=$CONTAINERD is not known: leave it empty for the newest, or say 1.7"; exit 2 ;;
esac
mkdir -p "$bin"
kept() { echo "$cache/built/$1-$(sha256sum <"$here/assets/$1/go.mod" | cut -c1-12)"; }

# build DIR NAME PACKAGE [go build flags]: one program, moved into place only when whole.
build() {
  local dir=$1 name=$2 package=$3; shift 3
  local start=$SECONDS kept
  kept=$(kept "$dir")
  if [ ! -x "$kept/$name" ]; then
    say "building $name (once; kept in $kept)"
    mkdir -p "$kept"
    (cd "$here/assets/$dir" && CGO_ENABLED=${cgo:-0} go build -trimpath "$@" -o "$kept/.$name.tmp" "$package")
    mv "$kept/.$name.tmp" "$kept/$name"
    say "built $name in $((SECONDS - start)) s"
  fi
  ln -f "$kept/$name" "$bin/$name"
}

kube() {
  local v=k8s.io/component-base/version minor=${kube_version#v1.}
  build kubernetes "$1" "k8s.io/kubernetes/cmd/$1" \
    -ldflags "-s -w -X $v.gitVersion=$kube_version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} -X $v.gitTreeState=clean"
}

ensure() {
  local name=$1 given=${KUBEBUILDER_ASSETS:-/nonexistent}/$1
  [ -x "$bin/$name" ] && return
  if [ -x "$given" ]; then ln -sf "$given" "$bin/$name"; return; fi
  case $name in
    etcd) build etcd etcd . -ldflags "-s -w" ;;
    kube-apiserver|kube-controller-manager|kube-scheduler|kube-proxy|kubelet|kubectl) kube "$name" ;;
    containerd|containerd-shim-runc-v2|ctr)
      local module=github.com/containerd/containerd/v2 flags="-s -w"
      [ "$containerd" = containerd ] || { # whose main says no version of its own
        module=${module%/v2}
        flags+=" -X $module/version.Version=$(sed -n "s#.*$module v\([0-9.]*\).*#\1#p" "$here/assets/$containerd/go.mod")"
      }
      build "$containerd" "$name" "$module/cmd/$name" -tags no_btrfs,no_devmapper,no_zfs,no_aufs -ldflags "$flags" ;;
    bridge|loopback|ptp) build cni "$name" "github.com/containernetworking/plugins/plugins/main/$name" -ldflags "-s -w" ;;
    host-local) build cni "$name" "github.com/containernetworking/plugins/plugins/ipam/$name" -ldflags "-s -w" ;;
    portmap) build cni "$name" "github.com/containernetworking/plugins/plugins/meta/$name" -ldflags "-s -w" ;;
    helm) build helm helm helm.sh/helm/v4/cmd/helm -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=$helm_version" ;;
    runc) cgo=1 build runc runc github.com/opencontainers/runc -tags seccomp -ldflags "-s -w" ;;
    *) say "unknown program $name"; exit 2 ;;
  esac
}

# What is there is whole, so who needs nothing else waits for nobody.
there() { local name; for name in "$@"; do [ -x "$bin/$name" ] || return 1; done; }
if there "$@"; then echo "$bin"; exit; fi
exec 9>"$cache/.lock"
flock -n 9 || { say "waiting for another run that builds"; flock 9; }
for name in "$@"; do ensure "$name"; done
echo "$bin"

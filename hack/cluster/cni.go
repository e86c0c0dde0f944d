package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
)

// nativePodRange is given to native Pods of a full cluster, outside of miniplane's own ranges; its node has the first /24.
const nativePodRange = "100.98.0.0/16"

// nativePods are the addresses of the node's native Pods: what kube-controller-manager gives to the first node.
func nativePods() netip.Prefix {
	return netip.PrefixFrom(netip.MustParsePrefix(nativePodRange).Addr(), 24)
}

// cniDir holds a node's network configuration for native Pods.
func (l Layout) cniDir(node string) string { return filepath.Join(l.NodeRunDir(node), "cni") }

// cniConfig gives each native Pod a link of its own to the node. Pods are masqueraded when they leave: nothing beyond the
// node has to know their addresses.
func cniConfig(l Layout, node string) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "native",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "ipam": {
        "type": "host-local",
        "dataDir": %q,
        "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": %q}]]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, filepath.Join(l.cniDir(node), "addresses"), nativePods())
}

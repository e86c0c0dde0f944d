package main

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
)

// Fixed numbers of every local cluster. The ranges lie outside those that miniplane gives to MiniPods (100.64.0.0/11) and
// MiniServices (100.96.0.0/16).
const (
	podRange           = "100.64.0.0/11"
	serviceRange       = "100.96.0.0/16"
	nativeServiceRange = "100.97.0.0/24"

	apiPort      = 6443
	registryPort = 5000

	firstNodeHost = 10
	maxNodes      = 200
	maxInstance   = 9
)

// Layout says where everything of one local cluster is: names, addresses and directories. It is a pure function of the
// clone's directory and the instance number, so that a later run finds what an earlier one made without having been told.
//
// Instance 0 is the one that people use; others exist so that tests can run beside it.
type Layout struct {
	Root     string // directory of the clone
	Instance int
}

// Prefix starts the name of every network namespace and link.
func (l Layout) Prefix() string {
	if l.Instance == 0 {
		return "mini"
	}
	return fmt.Sprintf("mini%d", l.Instance)
}

// Subnet joins the control plane, the nodes and the host.
func (l Layout) Subnet() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 127, byte(255 - l.Instance), 0}), 24)
}

func (l Layout) address(host int) netip.Addr {
	b := l.Subnet().Addr().As4()
	b[3] = byte(host)
	return netip.AddrFrom4(b)
}

// MAC is the hardware address that goes with an address of the subnet. Fixed ones matter: a bridge without one takes that of
// a port, so that it would change, and be unreachable until everybody's neighbour tables notice, when a node goes.
func (l Layout) MAC(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x02, 'm', b[0], b[1], b[2], b[3]}
}

// ControlPlaneIP is where the API server and the registry listen.
func (l Layout) ControlPlaneIP() netip.Addr { return l.address(1) }

// HostIP is the machine's own address on the subnet.
func (l Layout) HostIP() netip.Addr { return l.address(254) }

// NodeIP is the address of node i, counted from 0.
func (l Layout) NodeIP(i int) netip.Addr { return l.address(firstNodeHost + i) }

// ControlPlane is the network namespace that holds the bridge and the control plane.
func (l Layout) ControlPlane() string { return l.Prefix() + "-cp" }

// HostLink is the one link in the root network namespace.
func (l Layout) HostLink() string { return l.Prefix() + "-host" }

// Node is the name of node i: of its Node object, its network namespace and its port on the bridge.
func (l Layout) Node(i int) string { return fmt.Sprintf("%s-%d", l.Prefix(), i) }

// NodeNames are the first n nodes.
func (l Layout) NodeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = l.Node(i)
	}
	return names
}

// NodeIndex is the inverse of Node.
func (l Layout) NodeIndex(name string) (int, error) {
	for i := range maxNodes {
		if l.Node(i) == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("there is no node %q; nodes are called %s, %s …", name, l.Node(0), l.Node(1))
}

func (l Layout) base() string {
	if l.Instance == 0 {
		return "miniplane-local"
	}
	return fmt.Sprintf("miniplane-local-%d", l.Instance)
}

// RunDir holds what a reboot may lose: sockets, process records, pins, certificates, etcd's data; the nodes' part of it is in
// memory. Short, because paths of sockets must be.
func (l Layout) RunDir() string { return filepath.Join("/run", l.base()) }

// DataDir holds images, snapshots, logs of containers.
func (l Layout) DataDir() string { return filepath.Join("/var/lib", l.base()) }

// Cgroup is the cgroup that holds every process of the cluster, in each hierarchy that is used.
func (l Layout) Cgroup() string { return "/" + l.base() }

// DaemonCgroup is the cgroup of the processes of one network namespace that are not containers. Shims inherit it.
func (l Layout) DaemonCgroup(netns string) string { return l.Cgroup() + "/daemons-" + netns }

// PodCgroup is the parent of the cgroups of a node's MiniPods.
func (l Layout) PodCgroup(node string) string { return l.Cgroup() + "/" + node }

// NodeRunDir and NodeDataDir are a node's part of the two directories.
func (l Layout) NodeRunDir(node string) string  { return filepath.Join(l.RunDir(), node) }
func (l Layout) NodeDataDir(node string) string { return filepath.Join(l.DataDir(), node) }

// PKIDir holds the certificates and keys, and the kubeconfigs of the components.
func (l Layout) PKIDir() string { return filepath.Join(l.RunDir(), "pki") }

// LocalDir is the cluster's directory in the clone.
func (l Layout) LocalDir() string {
	if l.Instance == 0 {
		return filepath.Join(l.Root, ".local")
	}
	return filepath.Join(l.Root, ".local", fmt.Sprintf("instance-%d", l.Instance))
}

// Kubeconfig is the administrator's.
func (l Layout) Kubeconfig() string { return filepath.Join(l.LocalDir(), "kubeconfig") }

// LogDir holds a log file per process.
func (l Layout) LogDir() string { return filepath.Join(l.LocalDir(), "logs") }

// ImageDir holds the archives of the test images; all instances share it.
func (l Layout) ImageDir() string { return filepath.Join(l.Root, ".local", "images") }

// BinDir holds our own programs.
func (l Layout) BinDir() string { return filepath.Join(l.Root, "bin") }

// ContainerdSocket of a node.
func (l Layout) ContainerdSocket(node string) string {
	return filepath.Join(l.NodeRunDir(node), "containerd.sock")
}

// APIServer is the API server's URL, for the host and for the nodes.
func (l Layout) APIServer() string {
	return fmt.Sprintf("https://%s", netip.AddrPortFrom(l.ControlPlaneIP(), apiPort))
}

// Registry is the host:port of the test registry.
func (l Layout) Registry() string {
	return netip.AddrPortFrom(l.ControlPlaneIP(), registryPort).String()
}

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The table of processes. Names of those of a node end in the node's name.
const (
	etcdName      = "etcd"
	apiserverName = "kube-apiserver"
	kcmName       = "kube-controller-manager"
	managerName   = "manager"
	registryName  = "registry"
)

func containerdName(node string) string { return "containerd-" + node }
func agentName(node string) string      { return "agent-" + node }

const (
	// graceShort is for what ends when it is told; graceAPIServer for the API server, which would take more than a minute.
	graceShort     = 5 * time.Second
	graceAPIServer = 3 * time.Second

	etcdURL           = "http://127.0.0.1:2379"
	managerHealthPort = 8081
	managerMetrics    = 8080
	agentHealth       = "127.0.0.1:10350"
	kcmPort           = 10257

	// RegistryUser and RegistryPassword open the private half of the registry.
	registryUser, registryPassword = "mini", "plane"
)

// etcd keeps everything in one throw-away directory and does not wait for the disk: a local cluster does not survive its
// machine anyway.
func (c *Cluster) etcd() Program {
	return Program{
		Name: etcdName, NetNS: c.ControlPlane(), Path: c.asset("etcd"), Grace: graceShort,
		Args: []string{
			"--name=local", "--data-dir=" + filepath.Join(c.RunDir(), "etcd"), "--unsafe-no-fsync",
			"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=local=http://127.0.0.1:2380", "--log-level=warn",
		},
	}
}

func (c *Cluster) apiserver() Program {
	pki := func(name string) string { return filepath.Join(c.PKIDir(), name) }
	return Program{
		Name: apiserverName, NetNS: c.ControlPlane(), Path: c.asset("kube-apiserver"), Grace: graceAPIServer,
		Args: append([]string{
			"--etcd-servers=" + etcdURL,
			"--bind-address=" + c.ControlPlaneIP().String(), "--advertise-address=" + c.ControlPlaneIP().String(),
			fmt.Sprintf("--secure-port=%d", apiPort),
			"--tls-cert-file=" + pki(apiCertFile), "--tls-private-key-file=" + pki(apiKeyFile), "--client-ca-file=" + pki(caCertFile),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + pki(saPublicFile), "--service-account-signing-key-file=" + pki(saKeyFile),
			"--service-cluster-ip-range=" + nativeServiceRange,
			"--v=1",
		}, c.apiserverModeArgs()...),
	}
}

// kcm collects garbage, ends namespaces, makes ServiceAccounts and counts quotas.
func (c *Cluster) kcm() Program {
	kubeconfig := c.kubeconfigFile(kcmIdentity)
	return Program{
		Name: kcmName, NetNS: c.ControlPlane(), Path: c.asset("kube-controller-manager"), Grace: graceShort,
		Args: append([]string{
			"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", kcmPort), "--leader-elect=false",
			"--use-service-account-credentials", "--authentication-skip-lookup",
			"--root-ca-file=" + filepath.Join(c.PKIDir(), caCertFile),
			"--service-account-private-key-file=" + filepath.Join(c.PKIDir(), saKeyFile),
			"--v=1",
		}, c.kcmModeArgs()...),
	}
}

func (c *Cluster) manager() Program {
	return Program{
		Name: managerName, NetNS: c.ControlPlane(), Path: c.binary("manager"), Stamp: c.stamp("manager"), Grace: graceShort,
		Args: []string{
			"--kubeconfig=" + c.kubeconfigFile(managerIdentity), "--leader-elect=false",
			"--pod-cidr=" + podRange, "--service-cidr=" + serviceRange,
			fmt.Sprintf("--health-probe-bind-address=%s:%d", c.ControlPlaneIP(), managerHealthPort),
			fmt.Sprintf("--metrics-bind-address=%s:%d", c.ControlPlaneIP(), managerMetrics),
		},
	}
}

func (c *Cluster) registry() Program {
	images := c.image("echo") + "," + c.image("busybox")
	return Program{
		Name: registryName, NetNS: c.ControlPlane(), Path: c.binary("registry"), Stamp: c.stamp("registry"), Grace: graceShort,
		Args: []string{"-listen=" + c.Registry(), "-images=" + images, "-user=" + registryUser, "-password=" + registryPassword},
	}
}

func (c *Cluster) containerd(node string) Program {
	return Program{
		Name: containerdName(node), NetNS: node, Path: c.asset("containerd"), Grace: graceShort,
		Args: []string{"--config", filepath.Join(c.NodeRunDir(node), "containerd.toml"), "--log-level=warn"},
		Env:  []string{c.assetPath()},
	}
}

func (c *Cluster) agent(node string) Program {
	return Program{
		Name: agentName(node), NetNS: node, Path: c.binary("nodeagent"), Stamp: c.stamp("nodeagent"), Grace: graceShort,
		Args: c.agentArgs(node), Env: []string{c.assetPath()},
	}
}

func (c *Cluster) agentArgs(node string) []string {
	index, _ := c.NodeIndex(node)
	shim := c.binary("shim")
	if c.shim == shimRunc {
		shim = ""
	}
	return []string{
		"--iptables-backend=" + cmp.Or(os.Getenv("IPTABLES"), "auto"),
		"--kubeconfig=" + c.kubeconfigFile(agentIdentity(node)),
		"--node-name=" + node, "--node-ip=" + c.NodeIP(index).String(), "--register-node",
		"--containerd-address=" + c.ContainerdSocket(node),
		"--state-dir=" + filepath.Join(c.NodeRunDir(node), "agent"), "--root-dir=" + filepath.Join(c.NodeDataDir(node), "agent"),
		"--cgroup-parent=" + c.PodCgroup(node), "--pod-cidr=" + podRange, "--service-cidr=" + serviceRange,
		"--pause-binary=" + c.binary("pause"), "--shim-binary=" + shim, "--runc-binary=" + c.asset("runc"),
		"--health-address=" + agentHealth, "--insecure-registry=" + c.Registry(),
	}
}

// assetPath is a PATH on which containerd finds its shim and runc first, and the agent iptables at the end.
func (c *Cluster) assetPath() string {
	return "PATH=" + c.assets + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"
}

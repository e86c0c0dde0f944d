package main

import (
	"fmt"
	"path/filepath"
)

const (
	// sandboxImage is what the sandbox of a native Pod runs.
	sandboxImage = "miniplane.dev/sandbox:v1"
	// nativeNamespace is the one in which containerd keeps what a kubelet asks for.
	nativeNamespace = "k8s.io"
	// stockSocket is where everybody expects containerd; an agent that was installed as on any node does too. runc's shim uses
	// its directory without being asked.
	stockDir    = "/run/containerd"
	stockSocket = stockDir + "/containerd.sock"
)

func kubeletDir(l Layout, node string) string { return filepath.Join(l.NodeDataDir(node), "kubelet") }

// kubeletConfig is the configuration of a node's kubelet. Pods get cgroups below the cluster's, so that they are found when
// it goes down. Nothing is evicted for want of disk, and no image collected, which nobody could pull again: whatever the machine has must do. A nameserver that refuses at once is
// better than the machine's, which a node cannot reach.
func kubeletConfig(l Layout, node string) string {
	dir := kubeletDir(l, node)
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %q}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: %q
containerRuntimeEndpoint: %q
enforceNodeAllocatable: [pods]
evictionHard: {memory.available: 50Mi, nodefs.available: 0.1%%, nodefs.inodesFree: 0.1%%, imagefs.available: 0.1%%, imagefs.inodesFree: 0.1%%}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
maxPods: 110
podLogsDir: %q
resolvConf: %q
volumePluginDir: %q
`, filepath.Join(l.PKIDir(), caCertFile), l.PodCgroup(node), "unix://"+stockSocket, filepath.Join(l.NodeDataDir(node), "pod-logs"),
		resolvConfFile(l, node), filepath.Join(dir, "volume-plugins"))
}

func resolvConfFile(l Layout, node string) string {
	return filepath.Join(l.NodeRunDir(node), "resolv.conf")
}

// kubeProxyConfig is kube-proxy's. It leaves the machine's conntrack alone.
func kubeProxyConfig(l Layout, node string) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %q}
clusterCIDR: %s
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1:10256
hostnameOverride: %s
metricsBindAddress: 127.0.0.1:10249
mode: iptables
`, l.kubeconfigFile(proxyIdentity), nativePodRange, node)
}

// criConfig is the configuration of containerd in a full cluster: as a real node's, but for where things are. The
// kubelet's half of containerd listens where everybody looks for it; the paths of the rest are the node's own.
func criConfig(l Layout, node, assets string) string {
	run, data := l.NodeRunDir(node), l.NodeDataDir(node)
	return fmt.Sprintf(`version = 4
root = %q
state = %q
temp = %q
disabled_plugins = [%s]

[plugins]
  [plugins.'io.containerd.server.v1.grpc']
    address = %q
  [plugins.'io.containerd.server.v1.ttrpc']
    address = %q
  [plugins.'io.containerd.metadata.v1.bolt']
    no_sync = true
  [plugins.'io.containerd.internal.v1.opt']
    path = %q
  [plugins.'io.containerd.shim.v1.manager']
    socket_dir = %q
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %q
  [plugins.'io.containerd.cri.v1.runtime']
    restrict_oom_score_adj = true
    disable_apparmor = true
    netns_mounts_under_state_dir = true
    cdi_spec_dirs = []
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [%q]
    conf_dir = %q
`, data+"/containerd", run+"/containerd", data+"/tmp", quoteAll([]string{
		"io.containerd.nri.v1.nri", "io.containerd.monitor.container.v1.restart", "io.containerd.image-verifier.v1.bindir",
		"io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
		"io.containerd.mount-handler.v1.erofs", "io.containerd.tracing.processor.v1.otlp",
	}), stockSocket, stockSocket+".ttrpc", data+"/opt", run+"/s", sandboxImage, assets, filepath.Join(l.cniDir(node), "net.d"))
}

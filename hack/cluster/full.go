//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A full cluster has all of Kubernetes, so that native Pods run too, and nothing of miniplane: that is installed into it
// as into any other cluster. It has one node, because the kubelets of several, and the agents in their Pods, would share the
// machine's directories.
const modeFull = "full"

const (
	schedulerName = "kube-scheduler"
	// agentCgroup is the one that an agent installed by its manifests makes.
	agentCgroup = "/miniplane"
)

func kubeletName(node string) string { return "kubelet-" + node }
func proxyName(node string) string   { return "kube-proxy-" + node }

// outsideFull are the programs that only a full cluster needs.
var outsideFull = []string{"kube-scheduler", "kubelet", "kube-proxy", "ptp", "host-local", "portmap", "loopback"}

func (c *Cluster) fullImages() []string {
	if c.full {
		return []string{"sandbox"}
	}
	return nil
}

// apiserverModeArgs: agents alone need no endpoints of the service "kubernetes"; native Pods do.
func (c *Cluster) apiserverModeArgs() []string {
	if !c.full {
		return []string{"--authorization-mode=RBAC", "--endpoint-reconciler-type=none"} // one API server, at a known address
	}
	return []string{
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + filepath.Join(c.PKIDir(), kubeletClientCert),
		"--kubelet-client-key=" + filepath.Join(c.PKIDir(), kubeletClientKey),
	}
}

// kcmModeArgs: alone its limits towards the API server are raised and its workers bounded, because the machine is small, and
// miniplane's own figures are what such a cluster is for. In a full cluster it is a yardstick.
func (c *Cluster) kcmModeArgs() []string {
	if !c.full {
		return []string{"--kube-api-qps=200", "--kube-api-burst=400", "--concurrent-gc-syncs=5", "--concurrent-namespace-syncs=4"}
	}
	args := []string{"--allocate-node-cidrs", "--cluster-cidr=" + nativePodRange, "--service-cluster-ip-range=" + nativeServiceRange}
	return append(args, clientLimitArgs(c.limits)...)
}

// scheduler has its default settings, because it is a yardstick, but for its limits. It waits for no lease: there is no other.
func (c *Cluster) scheduler() Program {
	return Program{
		Name: schedulerName, NetNS: c.ControlPlane(), Path: c.asset("kube-scheduler"), Grace: graceShort,
		Args: append([]string{"--kubeconfig=" + c.kubeconfigFile(schedulerIdentity), "--leader-elect=false"}, clientLimitArgs(c.limits)...),
	}
}

func (c *Cluster) kubelet(node string) Program {
	index, _ := c.NodeIndex(node)
	dir := kubeletDir(c.Layout, node)
	return Program{
		Name: kubeletName(node), NetNS: node, Path: c.asset("kubelet"), Grace: graceShort,
		Args: []string{
			"--config=" + filepath.Join(c.NodeRunDir(node), "kubelet.yaml"), "--kubeconfig=" + c.kubeconfigFile(kubeletIdentity(node)),
			"--root-dir=" + dir, "--cert-dir=" + filepath.Join(dir, "pki"),
			"--hostname-override=" + node, "--node-ip=" + c.NodeIP(index).String(),
		},
		Env: []string{c.assetPath()}, Stamp: c.limits,
	}
}

func (c *Cluster) kubeProxy(node string) Program {
	return Program{
		Name: proxyName(node), NetNS: node, Path: c.asset("kube-proxy"), Grace: graceShort,
		Args: []string{"--config=" + filepath.Join(c.NodeRunDir(node), "kube-proxy.yaml")},
		Env:  []string{c.assetPath()},
	}
}

// writeNodeFiles writes what the programs of a full cluster's node read.
func (c *Cluster) writeNodeFiles(node string) error {
	if old, err := oldContainerd(c.asset("containerd")); old || err != nil {
		return errors.Join(err, errors.New("a full cluster is for containerd 2.x: unset CONTAINERD, or start a local cluster"))
	}
	if err := ensureKubeconfig(c.Layout, kubeletIdentity(node), time.Now()); err != nil {
		return err
	}
	run := c.NodeRunDir(node)
	for path, content := range map[string]string{
		filepath.Join(run, "containerd.toml"):                        criConfig(c.Layout, node, c.assets),
		filepath.Join(run, "kubelet.yaml"):                           kubeletConfig(c.Layout, node) + kubeletLimits(c.limits),
		filepath.Join(run, "kube-proxy.yaml"):                        kubeProxyConfig(c.Layout, node),
		filepath.Join(c.cniDir(node), "net.d", "10-native.conflist"): cniConfig(c.Layout, node),
		resolvConfFile(c.Layout, node):                               "nameserver " + c.ControlPlaneIP().String() + "\n",
	} {
		if err := writeWhole(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// prepareFullNode makes what a kubelet and an agent in a Pod expect of a machine.
func (c *Cluster) prepareFullNode(node string) error {
	if err := c.writeNodeFiles(node); err != nil {
		return err
	}
	if err := ensureEverywhere(c.PodCgroup(node)); err != nil {
		return err
	}
	for _, dir := range wholeRunDirs {
		if err := ensureInMemory(dir); err != nil {
			return err
		}
	}
	for _, dir := range sharedMounts {
		if err := ensureSharedMount(dir); err != nil {
			return err
		}
	}
	if err := ensureNativeRoutes(c.Layout); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.ContainerdSocket(node)), 0o755); err != nil {
		return err
	}
	return link(stockSocket, c.ContainerdSocket(node))
}

// startFull starts what makes the node one of Kubernetes, and waits until it is ready.
func (c *Cluster) startFull(ctx context.Context) error {
	node := c.Node(0)
	for _, p := range []Program{c.registry(), c.scheduler(), c.kubelet(node), c.kubeProxy(node)} {
		if _, err := c.processes.Ensure(p); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return c.report.Step("images onto the node", func() error { return c.loadFullImages(ctx, node) })
	})
	group.Go(func() error {
		return c.report.Step("kubelet and kube-proxy, node ready", func() error { return c.waitNodeReady(ctx, node) })
	})
	return group.Wait()
}

// loadFullImages loads the test images, and miniplane's own where they have been built.
func (c *Cluster) loadFullImages(ctx context.Context, node string) error {
	names := []string{"sandbox", "echo", "busybox"}
	if _, err := os.Stat(c.image("miniplane")); err == nil {
		names = append(names, "miniplane")
	}
	for _, name := range names {
		if err := c.importImage(ctx, node, c.image(name)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) waitNodeReady(ctx context.Context, node string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return eventually(ctx, c.whileAlive(func() error {
		object, err := client.Resource(nodeResource).Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !conditionTrue(object, "Ready") {
			return fmt.Errorf("node %s is not ready", node)
		}
		return nil
	}, kubeletName(node), proxyName(node), schedulerName))
}

// programNames are the programs that should run.
func (c *Cluster) programNames(s *State) []string {
	if c.full {
		node := c.Node(0)
		return []string{etcdName, apiserverName, kcmName, schedulerName, registryName, containerdName(node), kubeletName(node), proxyName(node)}
	}
	names := []string{etcdName, apiserverName, kcmName, managerName, registryName}
	for _, node := range c.NodeNames(s.Nodes) {
		if !slices.Contains(s.Stopped, node) {
			names = append(names, containerdName(node), agentName(node))
		}
	}
	return names
}

// stopFull stops a full cluster. The kubelet goes first, so that nothing is restarted; Pods are killed by the sweep.
func (c *Cluster) stopFull() {
	node := c.Node(0)
	for _, name := range []string{kubeletName(node), proxyName(node), schedulerName, kcmName, registryName} {
		_ = c.processes.Stop(name, time.Second)
	}
	_ = c.processes.Stop(apiserverName, 0)
	_ = c.processes.Stop(etcdName, 0)
	_, _ = killCgroups(c.cgroups()...)
	// Shims keep what runc knows of a container outside of the cluster's directories.
	bundles, _ := filepath.Glob(filepath.Join(c.NodeRunDir(node), "containerd", "io.containerd.runtime.v2.task", "*", "*"))
	for _, bundle := range bundles {
		namespace, id := filepath.Base(filepath.Dir(bundle)), filepath.Base(bundle)
		_ = os.RemoveAll(filepath.Join("/run/containerd/runc", namespace, id))
	}
	for _, socket := range []string{stockSocket, stockSocket + ".ttrpc"} {
		_ = os.Remove(socket)
	}
}

// errOnlyAgents is returned for what cannot be done in a full cluster.
var errOnlyAgents = errors.New("in a full cluster miniplane's parts run in Pods: use kubectl (see also agent-kill, kubelet-restart)")

// notFull refuses a fault that only a cluster of our own processes has.
func (c *Cluster) notFull() error {
	if c.full {
		return errOnlyAgents
	}
	return nil
}

// Kubelet does it to a full cluster's kubelet or kube-proxy.
func (c *Cluster) Kubelet(ctx context.Context, node string, f fault) error {
	return c.ofFull(ctx, node, f, c.kubelet)
}

// KubeProxy does it to its kube-proxy.
func (c *Cluster) KubeProxy(ctx context.Context, node string, f fault) error {
	return c.ofFull(ctx, node, f, c.kubeProxy)
}

func (c *Cluster) ofFull(ctx context.Context, node string, f fault, program func(string) Program) error {
	return c.onNode(ctx, node, func(*State, int) error {
		if !c.full {
			return errors.New("only a full cluster has a kubelet and kube-proxy; start one with: make cluster-up MODE=full")
		}
		p := program(node)
		return c.inflict(f, p.Name, func() error { return c.start(p) })
	})
}

// killPodAgent kills the agent in its Pod; its kubelet starts it again.
func (c *Cluster) killPodAgent(node string) error {
	killed := 0
	for _, pid := range cgroupProcesses(c.PodCgroup(node)) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		program, _, _ := strings.Cut(string(line), "\x00")
		if filepath.Base(program) == "nodeagent" && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed == 0 {
		return errors.New("no agent runs in a Pod of " + node)
	}
	return nil
}

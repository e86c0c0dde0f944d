//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Up starts the cluster, or makes a running one whole again: every step looks first whether its work is done. It may be
// interrupted anywhere; the next Up goes on, the next Down removes.
func (c *Cluster) Up(ctx context.Context, o options) error {
	start := time.Now()
	if _, err := c.script(ctx, "prereqs.sh"); err != nil {
		return err
	}
	defer c.lock()()
	state, err := c.claim(o)
	if err != nil {
		return err
	}
	if err := c.report.Step("programs of others", func() error { return c.findAssets(ctx) }); err != nil {
		return err
	}
	if err := c.startMachines(ctx, state); err != nil {
		return err
	}
	if c.full {
		err = c.startFull(ctx)
	} else {
		err = c.startMiniplane(ctx, state)
	}
	if err != nil {
		return err
	}
	c.report.Say("up after %.1f s: %d nodes; export KUBECONFIG=%s", time.Since(start).Seconds(), state.Nodes, c.Kubeconfig())
	return nil
}

// The shims that agents of a local cluster can use.
const (
	shimOwn  = "own"
	shimRunc = "runc"
)

func checkShim(shim string) error {
	if shim != "" && shim != shimOwn && shim != shimRunc {
		return fmt.Errorf("there is no shim %q, only %s and %s", shim, shimOwn, shimRunc)
	}
	return nil
}

// nodesOf is the number of nodes of a cluster, where 0 stands for the usual one.
func nodesOf(nodes int, mode string) (int, error) {
	usual := 2
	switch mode {
	case "", "local":
	case modeFull:
		if usual = 1; nodes > 1 {
			return 0, errors.New("a full cluster has one node; for several use make kind-up")
		}
	default:
		return 0, fmt.Errorf("there is no mode %q, only local and full", mode)
	}
	if nodes == 0 {
		return usual, nil
	}
	return nodes, nil
}

// claim makes the cluster ours and writes down how many nodes it has, before anything is made.
func (c *Cluster) claim(o options) (*State, error) {
	nodes, err := nodesOf(o.nodes, o.mode)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkLimits(o.limits), checkShim(o.shim)); err != nil {
		return nil, err
	}
	if nodes < 1 || nodes > maxNodes {
		return nil, fmt.Errorf("a local cluster has 1 to %d nodes", maxNodes)
	}
	state, err := c.readState()
	if err != nil {
		return nil, err
	}
	if err := c.ours(state); err != nil {
		return nil, err
	}
	if state == nil {
		// Nothing is running; a reboot or a crash may have left files.
		if _, err := c.sweep(); err != nil {
			return nil, err
		}
		state = &State{Started: time.Now(), MadeDirs: missingDirs(sharedDirs)}
		if o.mode == modeFull {
			state.Mode = modeFull
			if err := state.claimFull(); err != nil {
				return nil, err
			}
		}
		if err := os.RemoveAll(c.LogDir()); err != nil {
			return nil, err
		}
		c.report.Say("starting a local cluster with %d nodes", nodes)
	} else {
		if (o.mode == modeFull) != c.full {
			return nil, errors.New("a local cluster of the other mode is running; stop it with: make cluster-down")
		}
		c.report.Say("a local cluster with %d nodes is running; starting what is missing", state.Nodes)
		if nodes < state.Nodes {
			c.report.Say("  (nodes are not removed one by one; make cluster-down removes all)")
		}
	}
	state.Limits = ""
	if state.Mode == modeFull {
		state.Limits = o.limits
	}
	state.Shim = o.shim
	c.full, c.whole, c.limits, c.shim = state.Mode == modeFull, state.Whole, state.Limits, state.Shim
	state.Root, state.Nodes, state.Stopped = c.Root, max(nodes, state.Nodes), nil
	return state, c.writeState(state)
}

// startMachines brings up the control plane, the nodes' machines and, meanwhile, our own programs.
func (c *Cluster) startMachines(ctx context.Context, state *State) error {
	if err := c.report.Step("network and certificates", c.prepare); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.startControlPlane(ctx) })
	group.Go(func() error {
		return c.report.Step("our own programs and images", func() error { return c.build(ctx) })
	})
	group.Go(func() error {
		return c.report.Step("containerd of each node", func() error { return c.startContainerds(ctx, state) })
	})
	return group.Wait()
}

func (c *Cluster) prepare() error {
	if err := ensureControlPlaneNetwork(c.Layout); err != nil {
		return err
	}
	if err := ensurePKI(c.Layout, time.Now()); err != nil {
		return err
	}
	admin, err := os.ReadFile(c.kubeconfigFile(adminIdentity))
	if err != nil {
		return err
	}
	return writeWhole(c.Kubeconfig(), admin, 0o600)
}

func (c *Cluster) startControlPlane(ctx context.Context) error {
	err := c.report.Step("etcd and kube-apiserver", func() error { return c.startAPIServer(ctx) })
	if err != nil {
		return err
	}
	if !c.full { // a full cluster is empty
		err = c.report.Step("kinds, policies, rights", func() error { return c.installObjects(ctx) })
		if err != nil {
			return err
		}
	}
	// Its garbage collector and quotas look for new kinds every 30 s; started now, they know ours from the first moment.
	_, err = c.processes.Ensure(c.kcm())
	return err
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	for _, p := range []Program{c.etcd(), c.apiserver()} {
		if _, err := c.processes.Ensure(p); err != nil {
			return err
		}
	}
	return c.waitAPIServer(ctx)
}

func (c *Cluster) waitAPIServer(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfigFile(adminIdentity))
	if err != nil {
		return err
	}
	config.Timeout = 2 * time.Second
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	return c.waitHTTP(ctx, client, c.APIServer()+"/readyz", apiserverName, etcdName)
}

// waitHTTP waits for a 200 from the URL, as long as the named programs live.
func (c *Cluster) waitHTTP(ctx context.Context, client *http.Client, url string, programs ...string) error {
	return eventually(ctx, c.whileAlive(func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(request)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, resp.Status)
		}
		return nil
	}, programs...))
}

// errDied ends waiting: a program that should become ready ended instead.
var errDied = errors.New("ended unexpectedly")

// whileAlive makes a check that fails for good when one of the programs is dead.
func (c *Cluster) whileAlive(check func() error, programs ...string) func() error {
	return func() error {
		for _, name := range programs {
			if _, alive := c.processes.Find(name); !alive {
				return fmt.Errorf("%s %w; %s", name, errDied, c.processes.logTail(name))
			}
		}
		return check()
	}
}

func (c *Cluster) startContainerds(ctx context.Context, state *State) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range state.Nodes {
		group.Go(func() error { return c.startNodeMachine(ctx, i) })
	}
	return group.Wait()
}

// startNodeMachine makes what a node has before miniplane comes: a network, a container runtime, a name.
func (c *Cluster) startNodeMachine(ctx context.Context, index int) error {
	node := c.Node(index)
	if err := ensureNodeNetwork(c.Layout, index); err != nil {
		return err
	}
	if err := ensureInMemory(c.NodeRunDir(node)); err != nil {
		return err
	}
	prepare := c.prepareNode
	if c.full {
		prepare = c.prepareFullNode
	}
	if err := prepare(node); err != nil {
		return err
	}
	if _, err := c.processes.Ensure(c.containerd(node)); err != nil {
		return err
	}
	return eventually(ctx, c.whileAlive(func() error {
		return dialUnix(c.ContainerdSocket(node))
	}, containerdName(node)))
}

func (c *Cluster) prepareNode(node string) error {
	if err := ensureKubeconfig(c.Layout, agentIdentity(node), time.Now()); err != nil {
		return err
	}
	old, err := oldContainerd(c.asset("containerd"))
	if err != nil {
		return err
	}
	config := filepath.Join(c.NodeRunDir(node), "containerd.toml")
	return writeWhole(config, []byte(containerdConfig(c.Layout, node, old)), 0o644)
}

// startMiniplane starts the manager, the agents and the registry, and waits for the nodes.
func (c *Cluster) startMiniplane(ctx context.Context, state *State) error {
	programs := []Program{c.registry()}
	if !c.without["manager"] {
		programs = append(programs, c.manager())
	}
	nodes := c.NodeNames(state.Nodes)
	if !c.without["agent"] {
		for _, node := range nodes {
			programs = append(programs, c.agent(node))
		}
	}
	var names []string
	for _, p := range programs {
		started, err := c.processes.Ensure(p)
		if err != nil {
			return err
		}
		if started {
			names = append(names, p.Name)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return c.report.Step("test images onto the nodes", func() error { return c.loadTestImages(ctx, nodes) })
	})
	if len(c.without) == 0 {
		group.Go(func() error {
			return c.report.Step("manager and agents, nodes ready", func() error { return c.waitReady(ctx, nodes, names) })
		})
	}
	return group.Wait()
}

func (c *Cluster) loadTestImages(ctx context.Context, nodes []string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range nodes {
		group.Go(func() error {
			return errors.Join(c.importImage(ctx, node, c.image("echo")), c.importImage(ctx, node, c.image("busybox")))
		})
	}
	return group.Wait()
}

func (c *Cluster) waitReady(ctx context.Context, nodes, started []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	programs := []string{managerName, registryName}
	for _, node := range nodes {
		programs = append(programs, agentName(node))
	}
	health := fmt.Sprintf("http://%s:%d/readyz", c.ControlPlaneIP(), managerHealthPort)
	if slices.Contains(started, managerName) {
		if err := c.waitHTTP(ctx, &http.Client{Timeout: time.Second}, health, managerName); err != nil {
			return err
		}
	}
	return eventually(ctx, c.whileAlive(func() error { return nodesReady(ctx, client, nodes) }, programs...))
}

package nodeagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"miniplane.dev/miniplane/nodeagent/conntrack"
	"miniplane.dev/miniplane/nodeagent/hostports"
	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/proxy"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// OpenMachine opens the machine that the agent runs on: its containerd and its kernel. Nothing is changed yet but for
// directories.
func OpenMachine(opts Options, log logr.Logger) (*Machine, error) {
	if err := network.CheckRanges(opts.PodCIDR, opts.ServiceCIDR); err != nil {
		return nil, err
	}
	rt, err := openRuntime(opts)
	if err != nil {
		return nil, err
	}
	log.Info("Containers are started by a shim", "shim", cmp.Or(opts.Shim, "containerd's, with runc"))
	boxes, err := sandbox.New(sandbox.Options{StateDir: opts.StateDir, PauseBinary: opts.PauseBinary})
	if err != nil {
		return nil, errors.Join(err, rt.Close())
	}
	vols, err := volumes.New(opts.StateDir, opts.RootDir, rt.OnMachine)
	if err != nil {
		return nil, errors.Join(err, rt.Close())
	}
	tables, former, err := iptables.Find(context.Background(), opts.IPTables)
	if err != nil {
		return nil, errors.Join(err, rt.Close())
	}
	log.Info("Rules are those of one kind of iptables", "kind", tables.Backend(), "asked for", opts.IPTables)
	if err := metrics.Registry.Register(rt.Logs); err != nil {
		return nil, errors.Join(err, rt.Close())
	}
	check := checker{runtime: rt, tables: tables}
	return &Machine{
		Runtime:   rt,
		Sandboxes: boxes,
		Volumes:   vols,
		OpenNetwork: func(podCIDR netip.Prefix) (network.Network, error) {
			return network.New(network.Options{
				NodeIP: opts.NodeIP, PodCIDR: podCIDR, ClusterPodCIDR: opts.PodCIDR, ServiceCIDR: opts.ServiceCIDR, StateDir: opts.StateDir,
				Encapsulation: opts.Encapsulation, Log: log.WithName("network")})
		},
		RunProxy: func(ctx context.Context, cache cache.Cache, podCIDR netip.Prefix, ways <-chan []network.Way) error {
			config := proxy.Config{
				NodePodCIDR: podCIDR, ClusterPodCIDR: opts.PodCIDR, ServiceCIDR: opts.ServiceCIDR, VXLANPort: network.DefaultVXLANPort,
				NoReversePath: !tables.Understands(ctx, iptables.Raw, proxy.ReversePath),
			}
			options := proxy.Options{Config: config, Tables: tables, Log: log.WithName("proxy")}
			if former != nil {
				options.Former = former
			}
			return runProxy(ctx, cache, options, ways)
		},
		SetBudget: func(l cgroup.Limits) error {
			if err := cgroup.Create(opts.CgroupParent); err != nil {
				return err
			}
			return cgroup.SetLimits(opts.CgroupParent, l)
		},
		Processes:  processes{opts.CgroupParent},
		TakenPorts: func(ctx context.Context) (hostports.Taken, error) { return takenPorts(ctx, tables, former) },
		Check:      check.check,
		Close:      func() { metrics.Registry.Unregister(rt.Logs); _ = rt.Close() },
	}, nil
}

func openRuntime(opts Options) (*containerd.Runtime, error) {
	return containerd.New(containerd.Options{
		Address: opts.ContainerdAddress, Namespace: opts.ContainerdNamespace, StateDir: opts.StateDir,
		PauseBinary: opts.PauseBinary, Shim: opts.Shim, RuncBinary: opts.RuncBinary, InsecureRegistries: opts.InsecureRegistries,
		Logs: opts.Logs,
	})
}

// runProxy feeds a proxier with the services of the cluster and the host ports of the node, and runs it once it has all.
func runProxy(ctx context.Context, cache cache.Cache, opts proxy.Options, ways <-chan []network.Way) error {
	if opts.NoReversePath {
		opts.Log.Info("This kernel has no match rpfilter; sources are checked by net.ipv4.conf.*.rp_filter and by the node's range alone")
	}
	flows, err := conntrack.Open(nil)
	if err != nil {
		return err
	}
	defer flows.Close()
	opts.Flows = flows
	proxier := proxy.New(opts)
	if err := followServices(ctx, cache, proxier, opts.Log); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case first := <-ways:
		proxier.SetPeers(peersOf(first))
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-ways:
				proxier.SetPeers(peersOf(now))
			}
		}
	}()
	proxier.Run(ctx)
	return nil
}

func peersOf(ways []network.Way) []proxy.Peer {
	out := make([]proxy.Peer, 0, len(ways))
	for _, w := range ways {
		out = append(out, proxy.Peer{NodeIP: w.NodeIP, PodCIDR: w.PodCIDR, Near: w.Near})
	}
	return out
}

const (
	// checkTables is how long the answer of iptables is good for; asking takes a process.
	checkTables = 30 * time.Second
	// checkTimeout bounds the question to containerd.
	checkTimeout = 2 * time.Second
)

// checker tells whether containers can be started and reached.
type checker struct {
	runtime interface {
		Version(context.Context) (string, error)
	}
	tables interface {
		Intact(ctx context.Context, rules []iptables.Rule) (bool, error)
	}

	mu       sync.Mutex
	askedAt  time.Time
	tableErr error
}

func (c *checker) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if _, err := c.runtime.Version(ctx); err != nil {
		return fmt.Errorf("containerd does not answer; is it running? %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.askedAt) > checkTables || c.tableErr != nil {
		// An empty check costs the same however many rules there are; listing chains does not.
		_, c.tableErr = c.tables.Intact(ctx, nil)
		c.askedAt = time.Now()
	}
	if c.tableErr != nil {
		return fmt.Errorf("iptables does not work: %w", c.tableErr)
	}
	return nil
}

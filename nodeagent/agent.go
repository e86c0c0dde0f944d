// Package nodeagent is the agent of one node: it starts and ends the containers of the MiniPods that are bound to it,
// connects them, makes virtual IPs work, and reports.
//
// Idea. The agent owns nothing that it could lose. What is wanted comes from watches of the API server, what is there from
// containerd and the kernel, and each part (workers, network, proxy, heartbeat) makes the second like the first. So an
// agent can be killed and replaced at any moment, and no container notices.
//
// The order of a start matters: first the heartbeat, for the node must not be given up while the rest takes its time; then
// what is on the machine is taken up, and only then the wishes are heard, so that nothing is started that runs already;
// what belongs to nobody is removed last, when all wishes are known.
package nodeagent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/endpoints"
	"miniplane.dev/miniplane/internal/fabric"
	"miniplane.dev/miniplane/internal/jitter"
	"miniplane.dev/miniplane/internal/patience"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/nodeagent/grants"
	"miniplane.dev/miniplane/nodeagent/heartbeat"
	"miniplane.dev/miniplane/nodeagent/hostports"
	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/podworker"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// Machine is what the agent works on: the real one is opened by OpenMachine, tests have one in memory.
type Machine struct {
	Runtime   runtime.Runtime
	Sandboxes sandbox.Manager
	// Volumes of MiniPods.
	Volumes volumes.Manager
	// OpenNetwork takes up the network, once the node's range is known.
	OpenNetwork func(podCIDR netip.Prefix) (network.Network, error)
	// RunProxy makes virtual IPs work, and decides who may speak in whose name, until ctx ends; nil for none. It hears each time
	// how the other nodes are reached now.
	RunProxy func(ctx context.Context, cache cache.Cache, podCIDR netip.Prefix, ways <-chan []network.Way) error
	// SetBudget holds all MiniPods together to these limits. It may be called again, with the same or with others.
	SetBudget func(cgroup.Limits) error
	// Processes of MiniPods; nil where they are not counted.
	Processes Processes
	// TakenPorts tells which ports of the machine are others'; nil where nobody looks.
	TakenPorts func(context.Context) (hostports.Taken, error)
	// Check tells whether containers can be started; the error says what to do.
	Check func(context.Context) error
	// Close gives the connections back.
	Close func()
}

// The waits between tries to speak to containerd, doubled from the first to the longest.
const (
	runtimeFirst = 200 * time.Millisecond
	runtimeMost  = 2 * time.Second
)

// agent is one run.
type agent struct {
	opts    Options
	machine *Machine
	client  client.Client
	cache   cache.Cache
	// uses reads the Secrets that MiniPods use, as the node's ServiceAccount.
	uses *grants.Reader
	// broadcaster sends what recorder is told to the API server.
	broadcaster events.EventBroadcaster
	recorder    events.EventRecorder
	log         logr.Logger
	host        host
	owner       *owner // nil for an agent that no DaemonSet keeps
	ready       atomic.Bool
	// server is where MiniPods find the API server.
	server string
	// fabric is what is known of the network between the nodes, once somebody asked.
	fabric atomic.Pointer[fabric.View]
}

// Run works until ctx ends. Containers run on after it. The configuration reaches the API server. ErrLeave and ErrUnwanted say that
// this was the last agent of the machine.
func Run(ctx context.Context, config *rest.Config, opts Options, machine *Machine, log logr.Logger) error {
	a := &agent{opts: opts, machine: machine, log: log, owner: ownerOf(opts.DaemonSet)}
	var err error
	if a.host, err = readHost(); err != nil {
		return err
	}
	if err := a.host.checkBudget(&opts); err != nil {
		return err
	}
	if err := a.connect(config); err != nil {
		return err
	}
	return a.runUntilEnd(ctx)
}

// runUntilEnd works until ctx ends, and then for as long as it takes to leave the machine in order.
func (a *agent) runUntilEnd(ctx context.Context) error {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- a.work(working)
		stop() // and there is nothing left to linger for
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	left := a.linger(working)
	stop()
	select {
	case err := <-ended:
		switch {
		case err != nil:
			return err
		case left:
			return ErrUnwanted
		case a.leaves():
			return ErrLeave
		}
		return nil
	case <-time.After(endTimeout):
		return fmt.Errorf("the agent did not end within %s; containers run on", endTimeout)
	}
}

// work runs all parts of the agent until ctx ends, or one of them fails.
func (a *agent) work(ctx context.Context) error {
	parts := newParts(ctx)
	defer parts.stop()
	parts.run("health", a.serveHealth)
	parts.run("budget", forever(a.keepBudget))
	if a.machine.Processes != nil {
		parts.run("processes", forever(a.relieve))
		parts.run("limits of processes", forever(a.limitPods))
	}
	parts.run("cache", a.cache.Start)
	parts.run("events", a.sendEvents)
	if a.owner != nil {
		parts.run("owner", a.followOwner)
	}
	heart := a.heart()
	parts.run("heartbeat", forever(heart.Beat))
	podCIDR, err := heart.Join(parts.ctx)
	if err != nil {
		return parts.cause(err)
	}
	parts.run("mininode", forever(heart.Tend))
	net, err := a.machine.OpenNetwork(podCIDR)
	if err != nil {
		return err
	}
	parts.run("network", forever(net.Run))
	ways := make(chan []network.Way, 1)
	parts.run("peers", func(ctx context.Context) error { return a.followPeers(ctx, net, ways) })
	parts.run("fabric", func(ctx context.Context) error { return a.watchFabric(ctx, net) })
	if a.machine.RunProxy != nil {
		parts.run("proxy", func(ctx context.Context) error { return a.machine.RunProxy(ctx, a.cache, podCIDR, ways) })
	}
	parts.run("pods", func(ctx context.Context) error { return a.runPods(ctx, net) })
	return parts.wait()
}

// connect makes the client, which asks the API server itself, and the cache of what concerns this node.
func (a *agent) connect(config *rest.Config) error {
	config = rest.CopyConfig(config)
	a.server = serverFor(config.Host)
	config.QPS, config.Burst = -1, -1 // the API server's own fairness limits us
	config.UserAgent = "miniplane-agent/" + Version
	config.Wrap(patience.Wrapper(a.log.WithName("api")))
	scheme, mapper, err := kinds()
	if err != nil {
		return err
	}
	if a.client, err = client.New(config, client.Options{Scheme: scheme, Mapper: mapper}); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	if a.uses, err = grants.New(config, a.client, a.opts.NodeName, a.log.WithName("grants")); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	a.broadcaster = events.NewBroadcaster(&signed{EventSink: &events.EventSinkImpl{Interface: clients.EventsV1()}, node: a.opts.NodeName})
	a.recorder = a.broadcaster.NewRecorder(scheme, miniv1.AgentReporter)
	service, err := labels.Parse(fmt.Sprintf("%s,%s=%s", miniv1.ServiceNameLabel, endpoints.ProxyNameLabel, miniv1.ServiceProxyName))
	if err != nil {
		return err
	}
	held := map[client.Object]cache.ByObject{
		&miniv1.MiniPod{}:            {Field: fields.OneTermEqualSelector("status.nodeName", a.opts.NodeName)},
		&corev1.Node{}:               {Field: fields.OneTermEqualSelector("metadata.name", a.opts.NodeName)},
		&discoveryv1.EndpointSlice{}: {Label: service},
	}
	if a.owner != nil {
		held[&appsv1.DaemonSet{}] = a.owner.byObject()
	}
	a.cache, err = cache.New(config, cache.Options{
		Scheme: scheme, Mapper: mapper, DefaultTransform: cache.TransformStripManagedFields(), ByObject: held,
	})
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	return nil
}

// sendEvents sends until ctx ends; what cannot be sent is tried again a few times and then given up.
func (a *agent) sendEvents(ctx context.Context) error {
	if err := a.broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	a.broadcaster.Shutdown()
	return nil
}

// heart beats whether containerd answers or not: that it does not is a condition of the node, and not its loss.
func (a *agent) heart() *heartbeat.Heart {
	capacity, allocatable := a.host.capacity(&a.opts)
	return heartbeat.New(heartbeat.Options{
		Client: a.client, Reader: a.cache,
		NodeName: a.opts.NodeName, NodeIP: a.opts.NodeIP,
		Capacity: capacity, Allocatable: allocatable, MaxPods: a.opts.MaxPods,
		Register: a.opts.RegisterNode, DaemonSet: a.opts.DaemonSet,
		Check: a.machine.Check,
		PIDs:  a.countPIDs(), MaxPIDs: a.host.limits(&a.opts).PIDs,
		Fabric: a.fabric.Load, VXLANPort: network.DefaultVXLANPort,
		Images: a.machine.Runtime.Images,
		Info:   a.host.info(), Version: a.machine.Runtime.Version,
		Recorder: a.recorder, Log: a.log.WithName("heartbeat"),
	})
}

// waitForRuntime waits until containerd says what it is, or until ctx ends.
func (a *agent) waitForRuntime(ctx context.Context) (version string) {
	a.untilDone(ctx, "reach the container runtime at "+a.opts.ContainerdAddress, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		version, err = a.machine.Runtime.Version(ctx)
		return err
	})
	return version
}

// untilDone tries until it works, or until ctx ends. It tells of each failure that is not the one before.
func (a *agent) untilDone(ctx context.Context, what string, try func(context.Context) error) {
	told := ""
	for wait := runtimeFirst; ; wait = min(2*wait, runtimeMost) {
		err := try(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if err.Error() != told {
			told = err.Error()
			a.log.Info("Cannot "+what+"; trying again. The node says so meanwhile, and containers run on", "err", told)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter.Up(wait)):
		}
	}
}

// runPods takes up what is on the machine, hears what is wanted, and makes the one like the other.
func (a *agent) runPods(ctx context.Context, net network.Network) error {
	version := a.waitForRuntime(ctx)
	name, _, _ := strings.Cut(version, "://")
	_, allocatable := a.host.capacity(&a.opts)
	ctx, cancel := context.WithCancel(ctx)
	namespaces := &podsecurity.Namespaces{}
	pool := podworker.New(ctx, podworker.Options{
		Namespaces: namespaces,
		Runtime:    a.machine.Runtime, Sandboxes: a.machine.Sandboxes, Network: net, Volumes: a.machine.Volumes,
		Client:   a.client,
		Uses:     a.uses,
		Changes:  a.uses,
		Recorder: a.recorder,
		Layout:   podworker.Layout{RootDir: a.opts.RootDir, StateDir: a.opts.StateDir, CgroupParent: a.opts.CgroupParent},
		Machine: podworker.Machine{NodeName: a.opts.NodeName, NodeIP: a.opts.NodeIP.String(), MemoryBytes: a.host.memory, RecursiveReadOnly: readsRecursively(),
			Node: resources.FromList(allocatable), PodMaxPIDs: a.opts.PodMaxPIDs, Cluster: a.opts.cluster(), APIServer: a.server},
		RuntimeName:   name,
		TakenPorts:    a.machine.TakenPorts,
		Log:           a.log.WithName("pods"),
		Resync:        a.opts.Resync,
		ParallelPulls: a.opts.ParallelPulls, PullDeadline: a.opts.PullDeadline,
	})
	defer pool.Wait()
	defer cancel()
	a.untilDone(ctx, "take up what is on this machine", pool.Adopt)
	if ctx.Err() != nil {
		return nil
	}
	if err := a.followNamespaces(ctx, namespaces, pool); err != nil {
		return err
	}
	if err := a.followPods(ctx, pool); err != nil {
		return err
	}
	a.ready.Store(true)
	a.log.Info("Ready", "node", a.opts.NodeName)
	pool.Run(ctx)
	return nil
}

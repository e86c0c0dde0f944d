package podworker

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/nodeagent/hostports"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/fakenode"
	"miniplane.dev/miniplane/test/slow"
	"miniplane.dev/miniplane/test/testenv"
)

// bench is a node in memory, an API server in memory, and agents that come and go between them.
type bench struct {
	t         *testing.T
	runtime   *fake.Runtime
	sandboxes *fakenode.Sandboxes
	network   *fakenode.Network
	volumes   *fakenode.Volumes
	clock     *clocktesting.FakeClock
	api       client.WithWatch
	layout    Layout
	pool      *Pool
	// namespaces has "ns", the one of the test's MiniPods, without labels.
	namespaces podsecurity.Namespaces
	kill       func() // ends the agent
	// adopted is called when an agent has taken up what is there and does not work yet.
	adopted func()
	// boot is the machine's; correction is by how much its time was set forward, which the kernel's monotonic clock does not show.
	boot       string
	correction time.Duration

	mu     sync.Mutex
	writes []string // "status", "finalizer": what the agent wrote
	away   error    // the API server is away
	read   []string // Secrets that the agent read
	taken  hostports.Taken
	looks  int // for taken ports

	changes Follower
	// mortal is the next agent's way to the machine and the API server, where it dies at a step; nil for one that does not.
	mortal *mortal
	// wrote is told of all that agents write down for their successors; nil where nobody asks.
	wrote func(what string)
}

func newBench(t *testing.T, before ...func(*bench)) *bench {
	t.Helper()
	b := &bench{t: t, runtime: fake.New("echo:test", "echo:2"), sandboxes: fakenode.NewSandboxes(t.TempDir()), network: fakenode.NewNetwork(), volumes: fakenode.NewVolumes(),
		clock: clocktesting.NewFakeClock(t0), boot: "this", layout: Layout{RootDir: t.TempDir(), StateDir: t.TempDir(), CgroupParent: "/mini"}}
	b.runtime.SetClock(b.clock.Now)
	b.namespaces.Set("ns", nil)
	b.api = fakeclient.NewClientBuilder().WithScheme(testenv.Scheme()).WithStatusSubresource(&miniv1.MiniPod{}).Build()
	for _, f := range before {
		f(b)
	}
	b.agent()
	t.Cleanup(func() { b.kill() })
	return b
}

// counted is the agent's view of the API server.
func (b *bench) counted() client.Client {
	note := func(what string) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.away == nil {
			b.writes = append(b.writes, what)
		}
		return b.away
	}
	return interceptor.NewClient(b.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if _, secret := obj.(*corev1.Secret); secret {
				b.mu.Lock()
				b.read = append(b.read, key.Name)
				b.mu.Unlock()
			}
			return c.Get(ctx, key, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if err := note("finalizer"); err != nil {
				return err
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := note("status"); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
		},
	})
}

// setAway makes the API server refuse writes, or take them again.
func (b *bench) setAway(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = nil
	if away {
		b.away = apierrors.NewServiceUnavailable("away")
	}
}

// written lists the writes of the agents so far.
func (b *bench) written() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.writes)
}

// agent starts an agent. kill ends it, between any two of its actions, and nothing else.
func (b *bench) agent() {
	ctx, cancel := context.WithCancel(context.Background())
	log := logr.Discard()
	if testing.Verbose() {
		log = testr.New(b.t)
	}
	options := Options{Runtime: b.runtime, Sandboxes: b.sandboxes, Network: b.network, Volumes: b.volumes, Client: b.counted(), Layout: b.layout,
		Namespaces: &b.namespaces, Machine: testMachine, RuntimeName: "fake", Log: log, Clock: b.clock, Resync: time.Hour, Changes: b.changes,
		TakenPorts: func(context.Context) (hostports.Taken, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.looks++
			return b.taken, nil
		}}
	if b.mortal != nil {
		b.mortal.take(&options)
	}
	pool := New(ctx, options)
	pool.ends.step = b.writing(b.mortal)
	pool.ends.boot, pool.ends.now = b.boot, func() time.Duration { return b.clock.Since(t0) - b.correction }
	b.pool = pool
	var done sync.WaitGroup
	b.kill = func() { cancel(); pool.Wait(); done.Wait() }
	if err := pool.Adopt(ctx); err != nil {
		b.t.Fatal(err)
	}
	if b.adopted != nil {
		b.adopted()
	}
	events, err := b.api.Watch(ctx, &miniv1.MiniPodList{})
	if err != nil {
		b.t.Fatal(err)
	}
	var there miniv1.MiniPodList
	if err := b.api.List(ctx, &there); err != nil {
		b.t.Fatal(err)
	}
	for i := range there.Items {
		pool.Set(&there.Items[i])
	}
	done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				events.Stop()
				return
			case event := <-events.ResultChan():
				pod, ok := event.Object.(*miniv1.MiniPod)
				switch {
				case !ok:
				case event.Type == "DELETED":
					pool.Forget(pod.UID)
				default:
					pool.Set(pod)
				}
			}
		}
	})
	done.Go(func() { pool.Run(ctx) })
}

// enforce labels the namespace with a level, as its owner would; empty takes the label off.
func (b *bench) enforce(level string) {
	labels := map[string]string{}
	if level != "" {
		labels["pod-security.kubernetes.io/enforce"] = level
	}
	if b.namespaces.Set("ns", labels) {
		b.pool.NamespaceChanged("ns")
	}
}

// restart ends the agent and starts another.
func (b *bench) restart() { b.kill(); b.agent() }

// uidOf numbers the MiniPods of a test.
func uidOf(name string) types.UID {
	return types.UID(fmt.Sprintf("%-36s", strings.ReplaceAll(name, " ", "-"))[:36])
}

// create makes a bound MiniPod, as the scheduler leaves it.
func (b *bench) create(name string, change ...func(*miniv1.MiniPod)) *miniv1.MiniPod {
	b.t.Helper()
	pod := testPod().With(func(p *miniv1.MiniPod) {
		p.Name, p.UID = name, types.UID(strings.ReplaceAll(string(uidOf(name)), " ", "0"))
		p.Finalizers = []string{miniv1.AgentFinalizer}
		p.Status.Summary = miniv1.ReasonContainerCreating
		for _, f := range change {
			f(p)
		}
	}).Obj()
	if err := b.api.Create(context.Background(), pod); err != nil {
		b.t.Fatal(err)
	}
	return pod
}

// get is the MiniPod as the API server has it; nil if it is gone.
func (b *bench) get(name string) *miniv1.MiniPod {
	b.t.Helper()
	pod := &miniv1.MiniPod{}
	err := b.api.Get(context.Background(), types.NamespacedName{Namespace: "ns", Name: name}, pod)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return pod
}

// change patches a MiniPod as a user does.
func (b *bench) change(name string, change func(*miniv1.MiniPod)) {
	b.t.Helper()
	pod := b.get(name)
	before := pod.DeepCopy()
	change(pod)
	if err := b.api.Patch(context.Background(), pod, client.MergeFrom(before)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) delete(name string) {
	b.t.Helper()
	if err := b.api.Delete(context.Background(), builders.Pod("ns", name).Obj()); err != nil {
		b.t.Fatal(err)
	}
}

// until waits for something to become true.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(slow.By(10 * time.Second))
	for !ok() {
		if time.Now().After(deadline) {
			b.t.Fatalf("timeout: %s\ncontainers: %+v\nwrites: %v", what, b.containers(), b.written())
		}
		<-time.After(time.Millisecond)
	}
}

// shows waits until the API server has a summary.
func (b *bench) shows(name, summary string) *miniv1.MiniPod {
	b.t.Helper()
	var pod *miniv1.MiniPod
	b.until(name+" shows "+summary, func() bool {
		pod = b.get(name)
		return pod != nil && pod.Status.Summary == summary
	})
	return pod
}

// gone waits until nothing is left of all MiniPods.
func (b *bench) gone(name string) {
	b.t.Helper()
	b.until(name+" is gone", func() bool { return b.get(name) == nil })
	b.until("nothing is left", func() bool {
		addresses, _ := b.network.List(context.Background())
		files, _ := filepath.Glob(filepath.Join(b.layout.StateDir, "*", "*"))
		logs, _ := filepath.Glob(filepath.Join(b.layout.RootDir, "*", "*"))
		return len(b.containers())+b.sandboxes.Len()+len(addresses)+len(files)+len(logs) == 0
	})
}

func (b *bench) containers() []runtime.Container {
	out, err := b.runtime.List(context.Background())
	if err != nil {
		return nil
	}
	return out
}

// running are the IDs of running containers.
func (b *bench) running() []string {
	var out []string
	for _, c := range b.containers() {
		if c.State == runtime.StateRunning {
			out = append(out, c.ID)
		}
	}
	return out
}

// exit ends the only running container.
func (b *bench) exit(code int) {
	b.t.Helper()
	b.until("one container runs", func() bool { return len(b.running()) == 1 })
	if err := b.runtime.Exit(b.running()[0], code); err != nil {
		b.t.Fatal(err)
	}
}

// pass lets time pass, in steps as long as somebody waits for it.
func (b *bench) pass(d time.Duration) {
	b.t.Helper()
	b.until("somebody waits", b.clock.HasWaiters)
	b.clock.Step(d)
}

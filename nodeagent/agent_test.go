package nodeagent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/fakenode"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// node is an agent on a machine in memory, with a real API server. The test plays the scheduler and the manager.
type node struct {
	t         *testing.T
	name, ns  string
	api       client.Client
	cfg       *rest.Config
	opts      Options
	machine   *Machine
	runtime   *fake.Runtime
	network   *fakenode.Network
	sandboxes *fakenode.Sandboxes
	stop      func()

	mu     sync.Mutex
	writes []string // of MiniPods, by the agent
	denied string   // a path that the agent may not read
}

func newNode(t *testing.T, name string) *node {
	t.Helper()
	cfg, api := testenv.Start(t)
	n := &node{t: t, name: name, ns: testenv.Namespace(t, api), api: api, cfg: cfg,
		runtime: fake.New("echo:test"), network: fakenode.NewNetwork(), sandboxes: fakenode.NewSandboxes(t.TempDir())}
	n.opts = DefaultOptions()
	n.opts.NodeName, n.opts.NodeIP = name, netip.MustParseAddr("10.0.0.7")
	n.opts.RootDir, n.opts.StateDir, n.opts.HealthAddress, n.opts.RegisterNode = t.TempDir(), t.TempDir(), "", true
	n.machine = fakeMachine(n.runtime, n.network, n.sandboxes)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: miniv1.SystemNamespace}}
	if err := api.Create(t.Context(), ns); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	n.giveRange("100.64.8.0/22")
	return n
}

// fakeMachine is one in memory.
func fakeMachine(runtime *fake.Runtime, net *fakenode.Network, sandboxes *fakenode.Sandboxes) *Machine {
	return &Machine{
		Runtime: runtime, Sandboxes: sandboxes, Volumes: fakenode.NewVolumes(), Close: func() {},
		OpenNetwork: func(netip.Prefix) (network.Network, error) { return net, nil },
		SetBudget:   func(cgroup.Limits) error { return nil },
		Check:       func(context.Context) error { return nil },
	}
}

// start runs an agent, whose writes of MiniPods are noted.
func (n *node) start() {
	cfg := rest.CopyConfig(n.cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return noting{n, next} })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, n.opts, n.machine, logr.Discard()) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Errorf("the agent ended: %v", err)
		}
	})
}

type noting struct {
	n    *node
	next http.RoundTripper
}

func (t noting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/minipods/") {
		t.n.mu.Lock()
		t.n.writes = append(t.n.writes, r.Method+" "+filepath.Base(r.URL.Path))
		t.n.mu.Unlock()
	}
	t.n.mu.Lock()
	denied := t.n.denied
	t.n.mu.Unlock()
	if denied != "" && r.URL.Path == denied {
		return &http.Response{StatusCode: http.StatusForbidden, Status: "403 Forbidden", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	return t.next.RoundTrip(r)
}

// deny takes the right to read a path from the agent; empty gives it back.
func (n *node) deny(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.denied = path
}

// giveRange plays the node controller.
func (n *node) giveRange(podCIDR string) {
	n.t.Helper()
	testenv.Eventually(n.t, func() string {
		node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: n.name}}
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"status":{"podCIDR":%q}}`, podCIDR))
		if err := n.api.Status().Patch(n.t.Context(), node, patch); err != nil {
			return err.Error()
		}
		return ""
	})
}

// run creates a MiniPod and binds it.
func (n *node) run(name string) {
	n.t.Helper()
	pod := builders.Pod(n.ns, name).With(func(p *miniv1.MiniPod) { p.UID = ""; p.Finalizers = []string{miniv1.AgentFinalizer} }).Obj()
	if err := n.api.Create(n.t.Context(), pod); err != nil {
		n.t.Fatal(err)
	}
	patch := fmt.Appendf(nil, `{"status":{"nodeName":%q,"phase":"Pending","summary":"ContainerCreating"}}`, n.name)
	if err := n.api.Status().Patch(n.t.Context(), pod, client.RawPatch(types.MergePatchType, patch)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) shows(name, summary string) {
	n.t.Helper()
	testenv.Eventually(n.t, func() string {
		pod := &miniv1.MiniPod{}
		if err := n.api.Get(n.t.Context(), types.NamespacedName{Namespace: n.ns, Name: name}, pod); err != nil {
			return err.Error()
		}
		if pod.Status.Summary != summary {
			return fmt.Sprintf("%s shows %s, not %s", name, pod.Status.Summary, summary)
		}
		return ""
	})
}

func (n *node) gone(name string) {
	n.t.Helper()
	testenv.Eventually(n.t, func() string {
		err := n.api.Get(n.t.Context(), types.NamespacedName{Namespace: n.ns, Name: name}, &miniv1.MiniPod{})
		if !apierrors.IsNotFound(err) {
			return fmt.Sprintf("%s is there: %v", name, err)
		}
		return ""
	})
}

func (n *node) written() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.writes)
}

func TestWritesOfALife(t *testing.T) {
	n := newNode(t, "writes")
	n.run("a")
	n.shows("a", "Running")
	if diff := cmp.Diff([]string{"PATCH status"}, n.written()); diff != "" {
		t.Errorf("writes up to Running (-want +got):\n%s", diff)
	}
	if err := n.api.Delete(t.Context(), builders.Pod(n.ns, "a").Obj()); err != nil {
		t.Fatal(err)
	}
	n.gone("a")
	if diff := cmp.Diff([]string{"PATCH status", "PATCH a"}, n.written()); diff != "" {
		t.Errorf("writes of a life (-want +got):\n%s", diff)
	}
	if n.sandboxes.Len() != 0 {
		t.Error("a sandbox is left")
	}
}

func TestNewAgentTakesOver(t *testing.T) {
	n := newNode(t, "takeover")
	n.run("a")
	n.shows("a", "Running")
	n.stop()
	n.run("b") // while there is no agent
	n.runtime.ResetCalls()
	n.start()
	n.shows("b", "Running")
	if starts := n.runtime.Calls(fake.OpStart); len(starts) != 1 {
		t.Errorf("started %v", starts)
	}
	if got := n.written(); len(got) != 2 {
		t.Errorf("writes %v", got)
	}
}

func TestNodeObjects(t *testing.T) {
	n := newNode(t, "objects")
	ready := func() string {
		mini, core := &miniv1.MiniNode{}, &corev1.Node{}
		if err := n.api.Get(t.Context(), types.NamespacedName{Name: n.name}, mini); err != nil {
			return err.Error()
		}
		if err := n.api.Get(t.Context(), types.NamespacedName{Name: n.name}, core); err != nil {
			return err.Error()
		}
		switch {
		case len(mini.Status.Conditions) == 0 || mini.Status.Conditions[0].Status != metav1.ConditionTrue:
			return fmt.Sprintf("MiniNode %+v", mini.Status)
		case len(core.Status.Conditions) == 0 || core.Status.Conditions[0].Status != corev1.ConditionTrue:
			return fmt.Sprintf("Node %+v", core.Status)
		case core.Labels[corev1.LabelHostname] != n.name || core.Labels[corev1.LabelOSStable] != "linux":
			return fmt.Sprintf("labels %v", core.Labels)
		case mini.Status.NodeIP != "10.0.0.7" || mini.Status.Allocatable.Pods().Value() != 500:
			return fmt.Sprintf("MiniNode %+v", mini.Status)
		}
		return ""
	}
	testenv.Eventually(t, ready)
	for _, namespace := range []string{miniv1.SystemNamespace, corev1.NamespaceNodeLease} {
		testenv.Eventually(t, func() string {
			lease := &coordinationv1.Lease{}
			if err := n.api.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: n.name}, lease); err != nil {
				return err.Error()
			}
			if time.Since(lease.Spec.RenewTime.Time) > time.Minute {
				return fmt.Sprintf("renewed %v", lease.Spec.RenewTime)
			}
			return ""
		})
	}
	if err := n.api.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name}}); err != nil {
		t.Fatal(err)
	}
	if err := n.api.Delete(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: n.name}}); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() string {
		mini := &miniv1.MiniNode{}
		if err := n.api.Get(t.Context(), types.NamespacedName{Name: n.name}, mini); err != nil {
			return err.Error()
		}
		if mini.Status.NodeIP == "" || mini.Spec.PodCIDR != "" { // the manager remembers which range it was
			return fmt.Sprintf("not registered again as it should be: %+v", mini)
		}
		return ""
	})
	n.giveRange("100.64.8.0/22")
	testenv.Eventually(t, ready)
}

func TestPeers(t *testing.T) {
	n := newNode(t, "peers")
	other := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	if err := n.api.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"status":{"podCIDR":"100.64.12.0/22","nodeIP":"10.0.0.8"}}`))
	if err := n.api.Status().Patch(t.Context(), other, patch); err != nil {
		t.Fatal(err)
	}
	has := func() bool {
		return slices.ContainsFunc(n.network.Peers(), func(p network.Peer) bool { return p.Name == "other" && p.NodeIP.String() == "10.0.0.8" })
	}
	testenv.Eventually(t, func() string {
		if !has() {
			return fmt.Sprintf("peers %v", n.network.Peers())
		}
		return ""
	})
	if err := n.api.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() string {
		if has() {
			return "the peer is still there"
		}
		return ""
	})
}

func TestHealth(t *testing.T) {
	broken := false
	a := &agent{machine: &Machine{Check: func(context.Context) error {
		if broken {
			return fmt.Errorf("containerd does not answer")
		}
		return nil
	}}}
	server := httptest.NewServer(a.healthHandler())
	defer server.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "still starting") {
		t.Errorf("starting: %d %s", code, body)
	}
	a.ready.Store(true)
	if code, _ := get("/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	broken = true
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "containerd") {
		t.Errorf("broken: %d %s", code, body)
	}
	if code, body := get("/metrics"); code != http.StatusOK || !strings.Contains(body, "miniplane_agent_pods") {
		t.Errorf("metrics: %d %s", code, body)
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
}

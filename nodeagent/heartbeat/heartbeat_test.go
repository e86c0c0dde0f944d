package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/testenv"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type bench struct {
	t      *testing.T
	heart  *Heart
	api    client.Client
	clock  *clocktesting.FakeClock
	writes []string
	unfit  error
	images []runtime.Image
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, clock: clocktesting.NewFakeClock(t0)}
	b.api = fakeclient.NewClientBuilder().WithScheme(testenv.Scheme()).WithStatusSubresource(&miniv1.MiniNode{}, &corev1.Node{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
				b.writes = append(b.writes, fmt.Sprintf("create %T", obj))
				return c.Create(ctx, obj, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				b.writes = append(b.writes, fmt.Sprintf("patch %T", obj))
				return c.Patch(ctx, obj, patch, opts...)
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				b.writes = append(b.writes, fmt.Sprintf("%s %T", sub, obj))
				return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
			},
		}).Build()
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	b.heart = New(Options{Client: b.api, Reader: b.api, NodeName: "n1", NodeIP: netip.MustParseAddr("10.0.0.1"),
		Capacity: list, Allocatable: list, MaxPods: 500, Register: true, Log: logr.Discard(), Clock: b.clock,
		Check:  func(context.Context) error { return b.unfit },
		Images: func(context.Context) ([]runtime.Image, error) { return b.images, nil },
		Info:   miniv1.MiniNodeInfo{AgentVersion: "v1", OperatingSystem: "linux", Architecture: "amd64"},
	})
	return b
}

// wrote returns what was written since the last call.
func (b *bench) wrote() []string { defer func() { b.writes = nil }(); return b.writes }

func (b *bench) mini() *miniv1.MiniNode {
	b.t.Helper()
	node := &miniv1.MiniNode{}
	if err := b.api.Get(b.t.Context(), types.NamespacedName{Name: "n1"}, node); err != nil {
		b.t.Fatal(err)
	}
	return node
}

func (b *bench) core() *corev1.Node {
	b.t.Helper()
	node := &corev1.Node{}
	if err := b.api.Get(b.t.Context(), types.NamespacedName{Name: "n1"}, node); err != nil {
		b.t.Fatal(err)
	}
	return node
}

// change writes as somebody else.
func (b *bench) change(obj client.Object, write func() error) {
	b.t.Helper()
	if err := write(); err != nil {
		b.t.Fatal(obj.GetName(), err)
	}
	b.writes = nil
}

func (b *bench) giveRange(podCIDR string) {
	b.t.Helper()
	node := b.mini()
	node.Status.PodCIDR = podCIDR
	b.change(node, func() error { return b.api.Status().Update(b.t.Context(), node) })
}

func TestLease(t *testing.T) {
	b := newBench(t)
	for range 2 {
		if err := b.heart.renew(t.Context(), miniv1.SystemNamespace, renewEvery); err != nil {
			t.Fatal(err)
		}
		b.clock.Step(renewEvery)
	}
	if diff := cmp.Diff([]string{"patch *v1.Lease", "create *v1.Lease", "patch *v1.Lease"}, b.wrote()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	lease := &coordinationv1.Lease{}
	if err := b.api.Get(t.Context(), types.NamespacedName{Namespace: miniv1.SystemNamespace, Name: "n1"}, lease); err != nil {
		t.Fatal(err)
	}
	if !lease.Spec.RenewTime.Time.Equal(t0.Add(renewEvery)) || *lease.Spec.HolderIdentity != "n1" {
		t.Errorf("lease %+v", lease.Spec)
	}
}

func TestMiniNode(t *testing.T) {
	b := newBench(t)
	b.heart.Register = false
	b.heart.tend(t.Context())
	if diff := cmp.Diff([]string{"create *v1alpha1.MiniNode", "status *v1alpha1.MiniNode"}, b.wrote()); diff != "" {
		t.Errorf("first writes (-want +got):\n%s", diff)
	}
	if got := b.mini().Status.Conditions[0]; got.Reason != miniv1.ReasonPodCIDRPending || got.Status != metav1.ConditionFalse {
		t.Errorf("condition %+v", got)
	}
	node := b.mini()
	node.Generation = 7
	b.change(node, func() error { return b.api.Update(t.Context(), node) })
	b.giveRange("100.64.0.0/28")
	b.heart.tend(t.Context())
	if got := b.mini().Status.ObservedGeneration; got != 7 {
		t.Errorf("speaks of generation %d", got)
	}
	if got := b.mini().Status; got.Conditions[0].Reason != miniv1.ReasonAgentReady || got.Allocatable.Pods().Value() != 13 || got.PodCIDR != "100.64.0.0/28" {
		t.Errorf("status %+v", got)
	}
	b.wrote()
	for range 10 {
		b.clock.Step(renewEvery)
		b.heart.tend(t.Context())
	}
	if got := b.wrote(); len(got) != 0 {
		t.Errorf("nothing changed, yet written: %v", got)
	}
	b.unfit = errors.New("containerd does not answer")
	b.heart.tend(t.Context())
	if got := b.mini().Status.Conditions[0]; got.Status != metav1.ConditionFalse || got.Message != "containerd does not answer" {
		t.Errorf("condition %+v", got)
	}
}

func TestImagesChangeSeldom(t *testing.T) {
	b := newBench(t)
	b.heart.Register = false
	b.heart.tend(t.Context())
	b.images = []runtime.Image{{Names: []string{"b", "a"}, SizeBytes: 1}, {Names: []string{"big"}, SizeBytes: 2}}
	b.heart.tend(t.Context())
	if got := b.mini().Status.Images; len(got) != 0 {
		t.Errorf("too early: %v", got)
	}
	b.heart.lookAtImages(t.Context())
	b.heart.tend(t.Context())
	want := []miniv1.ContainerImage{{Names: []string{"big"}, SizeBytes: 2}, {Names: []string{"a", "b"}, SizeBytes: 1}}
	if diff := cmp.Diff(want, b.mini().Status.Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestExhaustedRangeIsTheManagersWord(t *testing.T) {
	b := newBench(t)
	b.heart.tend(t.Context())
	node := b.mini()
	node.Status.Conditions[0].Reason = miniv1.ReasonPodCIDRExhausted
	b.change(node, func() error { return b.api.Status().Update(t.Context(), node) })
	b.heart.tend(t.Context())
	if got := b.mini().Status.Conditions[0].Reason; got != miniv1.ReasonPodCIDRExhausted {
		t.Errorf("reason %s", got)
	}
}

func TestCoreNodeIsTheUsersToo(t *testing.T) {
	b := newBench(t)
	b.heart.tend(t.Context())
	node := b.core()
	if node.Labels[corev1.LabelHostname] != "n1" || node.Status.Conditions[0].Status != corev1.ConditionTrue || node.Status.Capacity.Pods().Value() != 0 {
		t.Errorf("node %+v", node)
	}
	node.Spec.Unschedulable, node.Labels = true, map[string]string{"mine": "yes"}
	node.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
	b.change(node, func() error { return b.api.Update(t.Context(), node) })
	b.clock.Step(renewEvery)
	b.heart.tend(t.Context())
	if got := b.wrote(); len(got) != 1 { // the MiniNode, whose range is pending
		for _, w := range got {
			if w == "status *v1.Node" || w == "patch *v1.Node" {
				t.Errorf("the Node was written: %v", got)
			}
		}
	}
	// The node lifecycle controller gave the node up; it is back.
	node = b.core()
	node.Status.Conditions[0].Status, node.Status.Conditions[0].Reason = corev1.ConditionUnknown, "NodeStatusUnknown"
	b.change(node, func() error { return b.api.Status().Update(t.Context(), node) })
	b.heart.tend(t.Context())
	node = b.core()
	if node.Status.Conditions[0].Status != corev1.ConditionTrue || !node.Spec.Unschedulable || len(node.Spec.Taints) != 1 || node.Labels["mine"] != "yes" {
		t.Errorf("node %+v", node)
	}
	b.unfit = errors.New("broken")
	b.heart.tend(t.Context())
	if got := b.core().Status.Conditions[0]; got.Status != corev1.ConditionFalse || got.Message != "broken" {
		t.Errorf("condition %+v", got)
	}
	if err := b.api.Delete(t.Context(), b.core()); err != nil {
		t.Fatal(err)
	}
	b.heart.tend(t.Context())
	if b.core().Labels[corev1.LabelHostname] != "n1" {
		t.Error("not registered again")
	}
}

func TestJoin(t *testing.T) {
	b := newBench(t)
	got := make(chan netip.Prefix)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b.heart.tend(ctx)
	b.giveRange("100.64.4.0/22")
	go func() {
		prefix, err := b.heart.Join(ctx)
		if err != nil {
			t.Error(err)
		}
		got <- prefix
	}()
	if prefix := <-got; prefix.String() != "100.64.4.0/22" {
		t.Errorf("range %v", prefix)
	}
	if err := b.api.Delete(ctx, b.mini()); err != nil {
		t.Fatal(err)
	}
	b.heart.tend(ctx)
	if asks := b.mini().Spec.PodCIDR; asks != "" { // it may not: the manager remembers
		t.Errorf("asks for %q", asks)
	}
	b.giveRange("100.64.8.0/22")
	b.heart.tend(ctx)
	if got := b.mini().Status.Conditions[0]; got.Status != metav1.ConditionFalse || !strings.Contains(got.Message, "addresses of 100.64.4.0/22, and the manager now gives 100.64.8.0/22") {
		t.Errorf("condition %+v", got)
	}
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	if _, err := newBench(t).heart.Join(cancelled); err == nil {
		t.Error("no error at the end of the agent")
	}
}

func TestBeatGoesOn(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	b.heart.Register = false
	go func() { b.heart.Beat(ctx); close(ended) }()
	lease := func() *coordinationv1.Lease {
		lease := &coordinationv1.Lease{}
		if b.api.Get(t.Context(), types.NamespacedName{Namespace: miniv1.SystemNamespace, Name: "n1"}, lease) != nil {
			return nil
		}
		return lease
	}
	testenv.Eventually(t, func() string {
		if lease() == nil {
			return "no lease"
		}
		return ""
	})
	testenv.Eventually(t, func() string {
		if !b.clock.HasWaiters() {
			return "nobody waits"
		}
		return ""
	})
	b.clock.Step(2 * renewEvery)
	testenv.Eventually(t, func() string {
		if got := lease().Spec.RenewTime.Time; !got.Equal(t0.Add(2 * renewEvery)) {
			return got.String()
		}
		return ""
	})
	cancel()
	<-ended
}

func TestMaxPods(t *testing.T) {
	for cidr, want := range map[string]int64{"": 500, "100.64.0.0/22": 500, "100.64.0.0/24": 253, "100.64.0.0/30": 1, "100.64.0.0/32": 0} {
		if got := maxPods(500, cidr); got != want {
			t.Errorf("%q: %d, want %d", cidr, got, want)
		}
	}
}

// noting is a clock that notes how long is waited, and does not wait.
type noting struct {
	clock.RealClock
	waits []time.Duration
}

func (n *noting) NewTimer(d time.Duration) clock.Timer {
	n.waits = append(n.waits, d)
	return n.RealClock.NewTimer(0)
}

// Agents that began in one moment do not beat in one moment for ever, and each beats as often as the manager counts on.
func TestBeatsAreSpread(t *testing.T) {
	b, noted := newBench(t), &noting{}
	b.heart.Clock = noted
	ctx, cancel := context.WithCancel(t.Context())
	b.heart.regularly(ctx, renewEvery, func() {
		if len(noted.waits) >= 100 {
			cancel()
		}
	})
	shortest, longest := slices.Min(noted.waits), slices.Max(noted.waits)
	if longest-shortest < renewEvery/8 || shortest < renewEvery*7/8 || longest > renewEvery*9/8 {
		t.Errorf("waits are from %s to %s, want them spread around %s", shortest, longest, renewEvery)
	}
}

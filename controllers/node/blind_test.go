package node

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/nodelife"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// story is a reconciler with two nodes, a clock that is moved by hand, and an API server that can be away.
type story struct {
	*testing.T
	*reconciler
	clock time.Time
	away  bool
	lease *coordinationv1.Lease
	// stale is a MiniNode that the cache still has, whatever became of it.
	stale *miniv1.MiniNode
}

func newStory(t *testing.T) *story {
	t.Helper()
	s := &story{T: t, clock: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)}
	node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "b", UID: "its-uid"}, Status: miniv1.MiniNodeStatus{PodCIDR: "100.64.0.0/22"}}
	conditions.Set(&node.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady})
	fleet := nodelife.NewFleet(16*time.Second, DefaultBrake)
	s.reconciler = &reconciler{fleet: fleet}
	s.beat("a")
	s.beat("b")
	renewed := metav1.NewMicroTime(s.clock)
	s.lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: "b"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: new("b"), RenewTime: &renewed}}
	c := fake.NewClientBuilder().WithScheme(testenv.Scheme()).
		WithStatusSubresource(&miniv1.MiniNode{}, &miniv1.MiniPod{}).
		WithIndex(&miniv1.MiniPod{}, index.PodNode, func(o client.Object) []string { return []string{o.(*miniv1.MiniPod).Status.NodeName} }).
		WithObjects(node, s.lease, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, builders.Pod("ns", "pod").Node("b").ReadySince(s.clock).Obj()).
		Build()
	reader := interceptor.NewClient(c, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if s.away {
			return errors.New("connection refused")
		}
		return c.Get(ctx, key, o, opts...)
	}})
	cache := interceptor.NewClient(c, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if into, ok := o.(*miniv1.MiniNode); ok && s.stale != nil {
			s.stale.DeepCopyInto(into)
			return nil
		}
		return c.Get(ctx, key, o, opts...)
	}})
	s.reconciler = &reconciler{client: cache, reader: reader, recorder: events.NewFakeRecorder(10), now: func() time.Time { return s.clock },
		policy: nodelife.Policy{EvictionWait: 20 * time.Second, AgentAbsence: 5 * time.Minute}, fleet: fleet, book: newBook(),
		ranges: newRanges(c, netip.MustParsePrefix("100.64.0.0/20"), 22)}
	s.must(s.look())
	return s
}

func (s *story) after(d time.Duration) { s.clock = s.clock.Add(d) }

// beat is a renewal that the manager sees.
func (s *story) beat(name string) {
	s.fleet.HearAgent(name, nodelife.Beat{Renewed: s.clock}, s.clock)
	s.after(time.Millisecond)
	s.fleet.HearAgent(name, nodelife.Beat{Renewed: s.clock}, s.clock)
}

// silence is 20 s in which only the other node is heard: if none were, nobody would be lost.
func (s *story) silence() {
	for range 2 {
		s.after(10 * time.Second)
		s.beat("a")
	}
}

func (s *story) look() (ctrl.Result, error) {
	return s.Reconcile(context.Background(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "b"}})
}

func (s *story) readyIs(reason string) {
	s.Helper()
	var node miniv1.MiniNode
	if err := s.client.Get(context.Background(), client.ObjectKey{Name: "b"}, &node); err != nil {
		s.Fatal(err)
	}
	if ready := meta.FindStatusCondition(node.Status.Conditions, miniv1.ConditionReady); ready.Reason != reason {
		s.Errorf("after %v: Ready is %s, want %s", s.clock, ready.Reason, reason)
	}
}

func TestWhileTheAPIServerIsAwayNobodyIsLost(t *testing.T) {
	s := newStory(t)
	s.silence()
	s.away = true
	if _, err := s.look(); err == nil {
		t.Fatal("a look at a lost node needs the API server")
	}
	s.away = false
	s.after(10 * time.Second)
	s.beat("a")
	s.after(5*time.Second - time.Millisecond)
	if result := s.must(s.look()); result.RequeueAfter != time.Second {
		t.Errorf("a full grace period after the failed look: again in %v", result.RequeueAfter)
	}
	s.readyIs(miniv1.ReasonAgentReady)
	s.after(time.Second)
	s.must(s.look())
	s.readyIs(miniv1.ReasonAgentLost)
}

// A watch that lags is no loss: the Lease is read past it.
func TestARenewalThatTheWatchDidNotBring(t *testing.T) {
	s := newStory(t)
	s.silence()
	renewed := metav1.NewMicroTime(s.clock)
	s.lease.Spec.RenewTime = &renewed
	if err := s.client.Update(context.Background(), s.lease); err != nil {
		t.Fatal(err)
	}
	if result := s.must(s.look()); result.RequeueAfter != 16*time.Second {
		t.Errorf("again in %v", result.RequeueAfter)
	}
	s.readyIs(miniv1.ReasonAgentReady)
}

// A MiniNode that the cache still shows is no node that came back: what was bound to one that has left is let go of.
func TestANodeThatLeftWhileTheCacheLags(t *testing.T) {
	s := newStory(t)
	var node miniv1.MiniNode
	key := client.ObjectKey{Name: "b"}
	if err := s.client.Get(t.Context(), key, &node); err != nil {
		t.Fatal(err)
	}
	conditions.Set(&node.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse, Reason: miniv1.ReasonAgentLeft})
	if err := s.client.Status().Update(t.Context(), &node); err != nil {
		t.Fatal(err)
	}
	s.must(s.look())
	if err := s.reader.Get(t.Context(), key, &node); !apierrors.IsNotFound(err) {
		t.Fatalf("the MiniNode of an agent that has left: %v", err)
	}
	s.lease.Spec.HolderIdentity = nil
	if err := s.client.Update(t.Context(), s.lease); err != nil {
		t.Fatal(err)
	}
	s.stale = &node
	s.stale.Name, s.stale.UID = "b", "its-uid"
	late := builders.Pod("ns", "late").Node("b").ReadySince(s.clock).With(func(p *miniv1.MiniPod) { p.Finalizers = []string{miniv1.AgentFinalizer} }).Obj()
	if err := s.client.Create(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	s.must(s.look())
	s.must(s.look())
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(late), late); !apierrors.IsNotFound(err) {
		t.Errorf("a MiniPod that was bound in the last moment: %v, %+v", err, late)
	}
}

// A cache that lags makes nobody count a MiniPod twice.
func TestADeletionIsCountedOnce(t *testing.T) {
	s := newStory(t)
	var pod miniv1.MiniPod
	key := client.ObjectKey{Namespace: "ns", Name: "pod"}
	if err := s.client.Get(t.Context(), key, &pod); err != nil {
		t.Fatal(err)
	}
	pod.Finalizers = []string{miniv1.AgentFinalizer}
	if err := s.client.Update(t.Context(), &pod); err != nil {
		t.Fatal(err)
	}
	seen := &nodelife.Observed{NodeExists: true, Life: nodelife.Life{State: nodelife.Lost}}
	counted := testenv.Counted(t, "miniplane_node_evictions_total")
	if err := s.remove(t.Context(), seen, pod.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if err := s.remove(t.Context(), seen, pod.DeepCopy()); !apierrors.IsConflict(err) {
		t.Errorf("as the cache still has it: %v", err)
	}
	if n := testenv.Counted(t, "miniplane_node_evictions_total") - counted; n != 1 {
		t.Errorf("counted %v times", n)
	}
}

func (s *story) must(result ctrl.Result, err error) ctrl.Result {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
	return result
}

package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// long is a grace period that no test waits for.
const long = 10 * time.Minute

// leaver is an agent of a DaemonSet that wants nodes with the label lane=yes. The test plays the manager and the kubelet.
type leaver struct {
	*node
	set   *appsv1.DaemonSet
	term  func() // tells it to end
	ended chan error
}

func newLeaver(t *testing.T, name string, grace time.Duration) *leaver {
	t.Helper()
	n := newNode(t, name)
	testenv.Eventually(t, func() string {
		if err := n.api.Get(t.Context(), types.NamespacedName{Name: name}, &corev1.Node{}); err != nil {
			return err.Error()
		}
		return ""
	})
	n.stop()
	l := &leaver{node: n, set: daemonSet(t, n.api, n.ns), ended: make(chan error, 1)}
	l.selector("yes")
	l.lane("yes")
	n.opts.DaemonSet, n.opts.GracePeriod = n.ns+"/agent", grace
	following := make(chan struct{})
	cfg := rest.CopyConfig(n.cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return noting{n, next} })
	ctx, cancel := context.WithCancel(context.Background())
	l.term = cancel
	go func() { l.ended <- Run(ctx, cfg, n.opts, n.machine, sayWhen(following, "Following the DaemonSet")) }()
	<-following
	l.run("a")
	l.shows("a", "Running")
	return l
}

func (l *leaver) selector(lane string) {
	l.t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"nodeSelector":{"lane":%q},"tolerations":[{"operator":"Exists"}]}}}}`, lane)
	if err := l.api.Patch(l.t.Context(), l.set, client.RawPatch(types.MergePatchType, patch)); err != nil {
		l.t.Fatal(err)
	}
}

func (l *leaver) lane(value string) {
	l.t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{"lane":%q}}}`, value)
	core := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: l.name}}
	if err := l.api.Patch(l.t.Context(), core, client.RawPatch(types.MergePatchType, patch)); err != nil {
		l.t.Fatal(err)
	}
}

// mark does what the manager does about a node that is not wanted.
func (l *leaver) mark() {
	l.t.Helper()
	testenv.Eventually(l.t, func() string {
		mini := &miniv1.MiniNode{}
		if err := l.api.Get(l.t.Context(), types.NamespacedName{Name: l.name}, mini); err != nil {
			return err.Error()
		}
		before := mini.DeepCopy()
		conditions.Set(&mini.Status.Conditions, metav1.Condition{Type: miniv1.ConditionLeaving, Status: metav1.ConditionTrue, Reason: miniv1.ReasonMovingMiniPods})
		if err := l.api.Status().Patch(l.t.Context(), mini, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return err.Error()
		}
		return ""
	})
}

func (l *leaver) delete(name string) {
	l.t.Helper()
	if err := l.api.Delete(l.t.Context(), builders.Pod(l.ns, name).Obj()); err != nil {
		l.t.Fatal(err)
	}
}

// staysFor checks that the agent does not end.
func (l *leaver) staysFor(d time.Duration) {
	l.t.Helper()
	select {
	case err := <-l.ended:
		l.t.Fatalf("it ended: %v", err)
	case <-time.After(d): // that nothing happens is what is waited for
	}
}

// ends waits for the end.
func (l *leaver) ends(want error, within time.Duration) {
	l.t.Helper()
	select {
	case err := <-l.ended:
		if !errors.Is(err, want) {
			l.t.Errorf("it ended with %v, want %v", err, want)
		}
	case <-time.After(within):
		l.t.Fatalf("it did not end within %s", within)
	}
}

// runs checks that the container of the MiniPod is as it was.
func (l *leaver) runs() {
	l.t.Helper()
	containers, err := l.runtime.List(l.t.Context())
	if err != nil || len(containers) != 1 || l.sandboxes.Len() != 1 {
		l.t.Errorf("%d containers, %d sandboxes, %v", len(containers), l.sandboxes.Len(), err)
	}
}

// An agent whose node is not wanted any more stays until the manager has moved everything, and then says that it has left.
func TestLingersUntilTheNodeIsEmpty(t *testing.T) {
	l := newLeaver(t, "lingers", long)
	l.lane("no")
	l.term()
	l.staysFor(3 * time.Second)
	l.runs()
	l.mark()
	l.staysFor(settle + 2*time.Second)
	l.runs()
	l.run("late") // it works as ever
	l.shows("late", "Running")
	l.delete("a")
	l.gone("a")
	l.delete("late")
	l.gone("late")
	l.ends(ErrUnwanted, 40*time.Second)
	if n := l.sandboxes.Len(); n != 0 {
		t.Errorf("%d sandboxes are left", n)
	}
	if err := SignOff(t.Context(), l.cfg, l.opts, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	mini := &miniv1.MiniNode{}
	if err := l.api.Get(t.Context(), types.NamespacedName{Name: l.name}, mini); err != nil {
		t.Fatal(err)
	}
	if ready := meta.FindStatusCondition(mini.Status.Conditions, miniv1.ConditionReady); ready.Reason != miniv1.ReasonAgentLeft || ready.Status != metav1.ConditionFalse ||
		!meta.IsStatusConditionTrue(mini.Status.Conditions, miniv1.ConditionLeaving) {
		t.Errorf("conditions %+v", mini.Status.Conditions)
	}
	lease := &coordinationv1.Lease{}
	if err := l.api.Get(t.Context(), types.NamespacedName{Namespace: miniv1.SystemNamespace, Name: l.name}, lease); err != nil || lease.Spec.HolderIdentity != nil {
		t.Errorf("its Lease: %v, %+v", err, lease.Spec)
	}
}

// A MiniPod that the agent has let go of, and that a tenant's finalizer keeps, holds no node.
func TestLingersForNobodysFinalizer(t *testing.T) {
	l := newLeaver(t, "haunted", long)
	finalizers := func(list string) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":`+list+`}}`))
		if err := l.api.Patch(context.Background(), builders.Pod(l.ns, "a").Obj(), patch); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(fmt.Sprintf("[%q, %q]", miniv1.AgentFinalizer, "example.com/for-ever"))
	t.Cleanup(func() { finalizers("[]") })
	l.lane("no")
	l.mark()
	l.term()
	l.staysFor(settle + 2*time.Second)
	l.delete("a")
	l.ends(ErrUnwanted, 40*time.Second)
}

// That no MiniPod is there is not enough: until the manager says that none comes any more, some may.
func TestLingersUntilTheManagerKnows(t *testing.T) {
	l := newLeaver(t, "unmarked", long)
	l.delete("a")
	l.gone("a")
	l.selector("other")
	l.term()
	l.staysFor(settle + 3*time.Second)
	l.mark()
	marked := time.Now()
	l.ends(ErrUnwanted, 40*time.Second)
	if took := time.Since(marked); took < settle-lingerEvery {
		t.Errorf("it left %v after the manager had said so", took)
	}
}

// It ends and leaves everything running when somebody comes after it: it is wanted, or wanted again; and where nobody says that it
// is not.
func TestEndsAndLeavesEverything(t *testing.T) {
	t.Run("upgrade", func(t *testing.T) {
		l := newLeaver(t, "upgraded", long)
		l.term()
		l.ends(nil, 30*time.Second)
		l.runs()
	})
	t.Run("wanted again", func(t *testing.T) {
		l := newLeaver(t, "again", long)
		l.lane("no")
		l.term()
		l.mark()
		l.staysFor(3 * time.Second)
		l.lane("yes")
		l.ends(nil, 30*time.Second)
		l.runs()
	})
	t.Run("nobody answers", func(t *testing.T) {
		l := newLeaver(t, "unanswered", long)
		l.lane("no")
		l.deny("/api/v1/nodes/" + l.name)
		l.term()
		l.ends(nil, 30*time.Second)
		l.runs()
	})
	t.Run("the time is over", func(t *testing.T) {
		l := newLeaver(t, "late", CleanupTime)
		l.lane("no")
		l.mark()
		l.term()
		l.staysFor(leastLinger / 2)
		l.ends(nil, leastLinger+10*time.Second)
		l.runs()
	})
}

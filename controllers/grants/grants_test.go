package grants

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// world is an API server in memory, the writes to it, and a clock. test/api has the same with a real one and real rights.
type world struct {
	*testing.T
	client client.Client
	now    time.Time
	r      *reconciler

	mu     sync.Mutex
	writes []string
	refuse func(verb string, o client.Object) error
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := &world{T: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.client = fake.NewClientBuilder().WithScheme(testenv.Scheme()).WithObjects(objects...).
		WithIndex(&miniv1.MiniPod{}, index.PodNode, func(o client.Object) []string { return []string{o.(*miniv1.MiniPod).Status.NodeName} }).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				return w.write("create", o, func() error { return c.Create(ctx, o, opts...) })
			},
			Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
				return w.write("update", o, func() error { return c.Update(ctx, o, opts...) })
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				return w.write("delete", o, func() error { return c.Delete(ctx, o, opts...) })
			},
		}).Build()
	w.restart()
	return w
}

// restart is a new manager, which remembers nothing.
func (w *world) restart() {
	w.r = &reconciler{client: w.client, reader: w.client, keep: keepFor, now: func() time.Time { return w.now }, unused: map[types.NamespacedName]grants.Unused{}}
}

// refuses sets which writes fail, and what else happens meanwhile.
func (w *world) refuses(refuse func(verb string, o client.Object) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = refuse
}

func (w *world) write(verb string, o client.Object, do func() error) error {
	w.mu.Lock()
	refuse := w.refuse
	w.mu.Unlock()
	if refuse != nil {
		if err := refuse(verb, o); err != nil {
			return err
		}
	}
	err := do()
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.writes = append(w.writes, verb+" "+kindOf(o))
	}
	return err
}

// reconcile looks at a node in the namespace ns, and tells what was written and when it looks again.
func (w *world) reconcile(node string) (writes []string, again time.Duration, err error) {
	w.Helper()
	w.writes = nil
	result, err := w.r.Reconcile(w.Context(), request("ns", node))
	slices.Sort(w.writes)
	return w.writes, result.RequeueAfter, err
}

// becomes reconciles without an error, and checks what a node may read then.
func (w *world) becomes(node string, want ...string) (writes []string, again time.Duration) {
	w.Helper()
	writes, again, err := w.reconcile(node)
	if err != nil {
		w.Fatal(err)
	}
	if diff := cmp.Diff(want, w.granted(node)); diff != "" {
		w.Errorf("node %s may read (-want +got):\n%s", node, diff)
	}
	return writes, again
}

// granted is what a node may really read: with a Role, a RoleBinding to its account, and the account.
func (w *world) granted(node string) []string {
	w.Helper()
	var role rbacv1.Role
	var binding rbacv1.RoleBinding
	key := client.ObjectKey{Namespace: "ns", Name: grants.RoleName(node)}
	for _, err := range []error{
		w.client.Get(w.Context(), key, &role), w.client.Get(w.Context(), key, &binding),
		w.client.Get(w.Context(), client.ObjectKey{Namespace: miniv1.NodesNamespace, Name: node}, &corev1.ServiceAccount{}),
	} {
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	if binding.RoleRef.Name != role.Name || len(binding.Subjects) != 1 || binding.Subjects[0].Name != node {
		w.Errorf("binding of %s: %+v", node, binding)
	}
	var out []string
	for _, ref := range grants.Granted(&role) {
		out = append(out, ref.Name)
	}
	return out
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func node(name string) *miniv1.MiniNode {
	return &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)}}
}

// pod is bound to a node and names Secrets.
func pod(name, node string, secrets ...string) *miniv1.MiniPod {
	return builders.Pod("ns", name).Node(node).With(func(p *miniv1.MiniPod) {
		for _, secret := range secrets {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, miniv1.LocalObjectReference{Name: secret})
		}
	}).Obj()
}

var all = []string{"create Role", "create RoleBinding", "create ServiceAccount"}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// A MiniPod that is replaced on another node takes its right there at once, and leaves it here a while; whose turn is first does not matter.
func TestAMiniPodMoves(t *testing.T) {
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		w := newWorld(t, node("a"), node("b"), pod("p", "a", "s"), pod("other", "a", "t"))
		writes, again := w.becomes("a", "s", "t")
		same(t, "writes", all, writes)
		same(t, "again", time.Duration(0), again)
		w.must(w.client.Delete(w.Context(), pod("p", "a")))
		w.must(w.client.Create(w.Context(), pod("p", "b", "s")))
		want := map[string][]string{"a": {"s", "t"}, "b": {"s"}}
		for _, n := range order {
			w.becomes(n, want[n]...)
		}
		w.now = w.now.Add(keepFor - time.Second)
		writes, again = w.becomes("a", "s", "t")
		same(t, "writes before its time", 0, len(writes))
		same(t, "again", time.Second, again)
		w.now = w.now.Add(time.Second)
		writes, _ = w.becomes("a", "t")
		same(t, "writes at its time", []string{"update Role"}, writes)
		w.must(w.client.Delete(w.Context(), pod("other", "a")))
		w.becomes("a", "t")
		w.now = w.now.Add(keepFor)
		writes, _ = w.becomes("a")
		same(t, "the last", []string{"delete Role", "delete RoleBinding"}, writes)
		w.becomes("b", "s")
	}
}

// Bound, its right on the way, and gone again: whatever was written of it is taken back.
func TestAMiniPodGoesWhileItsRightIsWritten(t *testing.T) {
	w := newWorld(t, node("a"), pod("p", "a", "s"))
	w.refuses(func(verb string, o client.Object) error {
		if verb == "create" && kindOf(o) == "RoleBinding" {
			w.refuses(nil)
			if err := w.client.Delete(w.Context(), pod("p", "a")); err != nil {
				w.Error(err)
			}
			return errors.New("the connection was lost")
		}
		return nil
	})
	if _, _, err := w.reconcile("a"); err == nil {
		t.Fatal("an error of a write is told to nobody")
	}
	w.becomes("a", "s") // its like may be on its way
	w.now = w.now.Add(keepFor)
	w.becomes("a")
}

// The manager may be killed between any two writes: the next one makes what is missing, and nothing twice; and takes away what is left
// of a right that nobody uses.
func TestKilledBetweenWrites(t *testing.T) {
	n := grants.Of(node("a"))
	refs := []grants.Reference{{Resource: grants.Secrets, Name: "s"}}
	for there := range 8 {
		used := newWorld(t, node("a"), pod("p", "a", "s"))
		left := newWorld(t, node("a"))
		var missing []string
		for i, o := range []client.Object{n.Role("ns", refs), n.Binding("ns"), n.Account()} {
			if there&(1<<i) == 0 {
				missing = append(missing, "create "+kindOf(o))
				continue
			}
			used.must(used.client.Create(t.Context(), o.DeepCopyObject().(client.Object)))
			left.must(left.client.Create(t.Context(), o))
		}
		writes, _ := used.becomes("a", "s")
		same(t, fmt.Sprintf("%03b is there: writes", there), missing, writes)

		_, _, err := left.reconcile("a")
		left.must(err)
		left.now = left.now.Add(keepFor)
		_, _, err = left.reconcile("a")
		left.must(err)
		for _, o := range []client.Object{&rbacv1.Role{}, &rbacv1.RoleBinding{}} {
			err := left.client.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: grants.RoleName("a")}, o)
			if !apierrors.IsNotFound(err) {
				t.Errorf("%03b is there and nobody uses it: %s stays: %v", there, kindOf(o), err)
			}
		}
	}
}

// A manager that was restarted does not know since when a right is not used, and so keeps it for the whole time again.
func TestARestartKeepsRights(t *testing.T) {
	w := newWorld(t, node("a"), pod("p", "a", "s"))
	w.becomes("a", "s")
	w.must(w.client.Delete(t.Context(), pod("p", "a")))
	w.becomes("a", "s")
	w.now = w.now.Add(keepFor - time.Second)
	w.restart()
	_, again := w.becomes("a", "s")
	same(t, "again", keepFor, again)
	w.must(w.client.Create(t.Context(), pod("p", "a", "s"))) // a rollout's
	writes, again := w.becomes("a", "s")
	same(t, "writes", 0, len(writes))
	same(t, "again", time.Duration(0), again)
}

// Somebody wrote in between: it is tried again, from what is there then.
func TestConflict(t *testing.T) {
	w := newWorld(t, node("a"), pod("p", "a", "s"))
	w.becomes("a", "s")
	w.must(w.client.Create(t.Context(), pod("q", "a", "t")))
	w.refuses(func(verb string, o client.Object) error {
		if verb != "update" {
			return nil
		}
		return apierrors.NewConflict(schema.GroupResource{Resource: "roles"}, o.GetName(), errors.New("somebody was first"))
	})
	if _, _, err := w.reconcile("a"); !apierrors.IsConflict(err) {
		t.Errorf("error %v, want the conflict, for the queue to come back", err)
	}
	same(t, "until then", []string{"s"}, w.granted("a"))
	w.refuses(nil)
	w.becomes("a", "s", "t")
}

// A thousand MiniPods that use the same Secret cost the writes of one.
func TestThousandMiniPods(t *testing.T) {
	objects := []client.Object{node("a")}
	for i := range 1000 {
		objects = append(objects, pod(fmt.Sprintf("p-%d", i), "a", "s"))
	}
	w := newWorld(t, objects...)
	first := ofPod(t.Context(), objects[1])
	for _, o := range objects[2:] {
		if got := ofPod(t.Context(), o); !slices.Equal(got, first) {
			t.Fatalf("%s queues %v, and another %v", o.GetName(), got, first)
		}
	}
	writes, _ := w.becomes("a", "s")
	same(t, "writes", all, writes)
	w.must(w.client.Delete(t.Context(), pod("p-7", "a")))
	w.must(w.client.Create(t.Context(), pod("p-1000", "a", "s")))
	writes, _ = w.becomes("a", "s")
	same(t, "writes of one that goes and one that comes", 0, len(writes))
}

// A node that is gone loses all at once; one that is not there yet gets nothing.
func TestNodesThatAreNotThere(t *testing.T) {
	w := newWorld(t, pod("p", "a", "s"))
	writes, _ := w.becomes("a")
	same(t, "writes for no node", 0, len(writes))
	w.must(w.client.Create(t.Context(), node("a")))
	w.becomes("a", "s")
	w.must(w.client.Delete(t.Context(), node("a")))
	w.must(w.client.Delete(t.Context(), pod("p", "a")))
	w.becomes("a")
}

// What does not matter here queues nothing.
func TestWhatQueues(t *testing.T) {
	if got := ofPod(t.Context(), pod("p", "", "s")); len(got) != 0 {
		t.Errorf("one that is not bound queues %v", got)
	}
	if got := ofPod(t.Context(), pod("p", "a")); len(got) != 0 {
		t.Errorf("one that names nothing queues %v", got)
	}
	if got := ofRole(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "their-own"}}); len(got) != 0 {
		t.Errorf("a Role of somebody else queues %v", got)
	}
	before, after := pod("p", "a", "s"), pod("p", "a", "s")
	after.Status.Phase = miniv1.PodRunning
	if usesOf(before) != usesOf(after) {
		t.Error("a status that changes nothing here queues")
	}
	for what, change := range map[string]func(*miniv1.MiniPod){
		"moved": func(p *miniv1.MiniPod) { p.Status.NodeName = "b" }, "ended": func(p *miniv1.MiniPod) { p.Status.Phase = miniv1.PodFailed },
		"is deleted": func(p *miniv1.MiniPod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} },
	} {
		now := pod("p", "a", "s")
		if change(now); usesOf(before) == usesOf(now) {
			t.Errorf("one that %s queues nothing", what)
		}
	}
}

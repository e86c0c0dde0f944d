package nodeagent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/nodeagent/runtime/fake"
	"miniplane.dev/miniplane/test/fakenode"
	"miniplane.dev/miniplane/test/testenv"
)

func daemonSet(t *testing.T, api client.Client, namespace string) *appsv1.DaemonSet {
	t.Helper()
	labels := map[string]string{"app": "agent"}
	set := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "agent"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: "agent:test"}}},
			},
		},
	}
	if err := api.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	return set
}

// follower is an agent that does nothing but follow its DaemonSet.
func follower(t *testing.T, cfg *rest.Config, set string) *agent {
	t.Helper()
	a := &agent{opts: Options{NodeName: "leaver", DaemonSet: set}, owner: ownerOf(set), log: logr.Discard()}
	if err := a.connect(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	parts := newParts(ctx)
	parts.run("cache", a.cache.Start)
	parts.run("owner", a.followOwner)
	t.Cleanup(func() { stop(); parts.stop() })
	return a
}

func (a *agent) untilSeen(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, func() string {
		if !a.owner.seen.Load() {
			return "the DaemonSet was not seen"
		}
		return ""
	})
}

// An agent leaves its machine when its DaemonSet was deleted, and for no other reason.
func TestLeavesWithItsDaemonSet(t *testing.T) {
	cfg, api := testenv.Start(t)
	ns := testenv.Namespace(t, api)
	set := daemonSet(t, api, ns)
	a := follower(t, cfg, ns+"/agent")
	a.untilSeen(t)
	if a.leaves() {
		t.Error("leaves while its DaemonSet is there, as in an upgrade")
	}
	if other := follower(t, cfg, ns+"/misspelled"); other.leaves() {
		t.Error("leaves for want of a DaemonSet that never was")
	}
	if none := (&agent{owner: ownerOf("")}); none.leaves() {
		t.Error("leaves without a DaemonSet")
	}
	if err := api.Delete(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if !a.leaves() {
		t.Error("stays after its DaemonSet was deleted")
	}
	testenv.Eventually(t, func() string {
		if !a.owner.gone.Load() {
			return "the watch did not tell"
		}
		return ""
	})
	daemonSet(t, api, ns) // as after kubectl delete --cascade=orphan
	testenv.Eventually(t, func() string {
		if a.leaves() {
			return "leaves although its DaemonSet is back"
		}
		return ""
	})
}

// It stays where a DaemonSet of another name has come in the place of its own, and wants the node.
func TestAnotherDaemonSetTakesOver(t *testing.T) {
	cfg, api := testenv.Start(t)
	ns := testenv.Namespace(t, api)
	set := daemonSet(t, api, ns)
	a := follower(t, cfg, ns+"/agent")
	a.opts.NodeName = "taken-over"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.opts.NodeName, Labels: map[string]string{"size": "large"}}}
	if err := api.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.Background(), node) })
	a.untilSeen(t)
	next := set.DeepCopy()
	next.ObjectMeta = metav1.ObjectMeta{Namespace: ns, Name: "next"}
	next.Spec.Template.Spec.NodeSelector = map[string]string{"size": "large"}
	next.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	if err := api.Create(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a.leaves() {
			t.Error("leaves although another agent comes")
		}
		testenv.Eventually(t, func() string { // the second time the watch has told, too
			if !a.owner.gone.Load() {
				return "the watch did not tell"
			}
			return ""
		})
	}
	if err := api.Delete(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if !a.leaves() {
		t.Error("stays after the last DaemonSet was deleted")
	}
}

// listsNothing is a client whose lists are not answered.
type listsNothing struct{ client.Client }

func (listsNothing) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return apierrors.NewTimeoutError("it does not answer", 0)
}

// An API server that does not answer has not said that nobody comes after this agent.
func TestStaysInDoubt(t *testing.T) {
	cfg, api := testenv.Start(t)
	ns := testenv.Namespace(t, api)
	set := daemonSet(t, api, ns)
	a := follower(t, cfg, ns+"/agent")
	a.untilSeen(t)
	if err := api.Delete(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() string {
		if !a.owner.gone.Load() {
			return "the watch did not tell"
		}
		return ""
	})
	answers := a.client
	a.client = listsNothing{answers}
	if a.leaves() {
		t.Error("leaves, although nobody said that no other agent comes")
	}
	a.client = answers
	if !a.leaves() {
		t.Error("stays, although nobody comes")
	}
}

// What the watch saw holds when the rights to ask went with the DaemonSet.
func TestLeavesWithoutRights(t *testing.T) {
	cfg, api := testenv.Start(t)
	ns := testenv.Namespace(t, api)
	set := daemonSet(t, api, ns)
	a := follower(t, cfg, ns+"/agent")
	a.untilSeen(t)
	nobody := rest.CopyConfig(cfg)
	nobody.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	var err error
	if a.client, err = client.New(nobody, client.Options{Scheme: testenv.Scheme()}); err != nil {
		t.Fatal(err)
	}
	if a.leaves() {
		t.Error("leaves because it may not ask")
	}
	if err := api.Delete(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() string {
		if !a.leaves() {
			return "stays after its DaemonSet was deleted"
		}
		return ""
	})
}

// sayWhen is a log that closes the channel at the first line with these words.
func sayWhen(seen chan struct{}, words string) logr.Logger {
	var once sync.Once
	return funcr.New(func(_, args string) {
		if strings.Contains(args, words) {
			once.Do(func() { close(seen) })
		}
	}, funcr.Options{})
}

// Run says so.
func TestRunEndsWithErrLeave(t *testing.T) {
	cfg, api := testenv.Start(t)
	ns := testenv.Namespace(t, api)
	set := daemonSet(t, api, ns)
	opts := DefaultOptions()
	opts.NodeName, opts.NodeIP, opts.HealthAddress, opts.RootDir = "leaver", netip.MustParseAddr("10.0.0.9"), "", t.TempDir()
	opts.StateDir, opts.DaemonSet = t.TempDir(), ns+"/agent"
	machine := fakeMachine(fake.New(), fakenode.NewNetwork(), fakenode.NewSandboxes(t.TempDir()))
	for _, deleted := range []bool{false, true} {
		seen := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, cfg, opts, machine, sayWhen(seen, "Following the DaemonSet")) }()
		<-seen
		if deleted {
			if err := api.Delete(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		if err := <-ended; errors.Is(err, ErrLeave) != deleted || err != nil && !deleted {
			t.Errorf("deleted %t: %v", deleted, err)
		}
	}
}

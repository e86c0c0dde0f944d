package heartbeat

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/testenv"
)

// A runtime that is away at the start, or later, is a condition of the node, and so is its return, in another version perhaps.
func TestRuntimeAway(t *testing.T) {
	b := newBench(t)
	b.heart.tend(t.Context())
	b.giveRange("100.64.0.0/24")
	told := events.NewFakeRecorder(10)
	b.heart.Recorder = told
	tells := func(want string) {
		t.Helper()
		got := ""
		select {
		case got = <-told.Events:
		default:
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("Event %q, want %q", got, want)
		}
	}
	version, away := "containerd://1", errors.New("connection refused")
	b.heart.Version = func(context.Context) (string, error) { return version, away }
	b.heart.Check = func(context.Context) error { return away }
	ready := func(status metav1.ConditionStatus, reason string) {
		t.Helper()
		b.heart.tend(t.Context())
		got := meta.FindStatusCondition(b.mini().Status.Conditions, miniv1.ConditionReady)
		if got == nil || got.Status != status || got.Reason != reason {
			t.Errorf("condition %+v, want %s %s", got, status, reason)
		}
	}
	ready(metav1.ConditionFalse, miniv1.ReasonRuntimeNotReady)
	tells("Warning ContainerRuntimeNotReady the container runtime does not answer: connection refused")
	ready(metav1.ConditionFalse, miniv1.ReasonRuntimeNotReady)
	tells("")
	away = nil
	ready(metav1.ConditionTrue, miniv1.ReasonAgentReady)
	tells("Normal ContainerRuntimeAnswers the container runtime answers again: containerd://1")
	away = errors.New("connection refused")
	ready(metav1.ConditionFalse, miniv1.ReasonRuntimeNotReady)
	away, version = nil, "containerd://2"
	ready(metav1.ConditionTrue, miniv1.ReasonAgentReady)
	if got := b.mini().Status.NodeInfo.ContainerRuntimeVersion; got != "containerd://2" {
		t.Errorf("version %q", got)
	}
}

// What takes long to list does not hold up the rest of the status.
func TestImagesHoldUpNothing(t *testing.T) {
	b := newBench(t)
	b.heart.Register = false
	ctx, cancel := context.WithCancel(t.Context())
	listing := make(chan struct{})
	b.heart.Images = func(ctx context.Context) ([]runtime.Image, error) {
		close(listing)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ended := make(chan struct{})
	go func() { b.heart.Tend(ctx); close(ended) }()
	<-listing
	testenv.Eventually(t, func() string {
		node := &miniv1.MiniNode{}
		if err := b.api.Get(t.Context(), keyOf("n1"), node); err != nil {
			return err.Error()
		}
		if node.Status.NodeIP == "" {
			return "no status"
		}
		return ""
	})
	cancel()
	<-ended
}

// What the node controller writes meanwhile stays.
func TestConditionOfTheManagerStays(t *testing.T) {
	b := newBench(t)
	b.heart.Register = false
	b.heart.tend(t.Context())
	b.giveRange("100.64.0.0/24")
	b.heart.Reader = &stale{Reader: b.api, node: b.mini()}
	node := b.mini()
	meta.SetStatusCondition(&node.Status.Conditions, metav1.Condition{Type: "Theirs", Status: metav1.ConditionTrue, Reason: "X"})
	b.change(node, func() error { return b.api.Status().Update(t.Context(), node) })
	b.heart.tend(t.Context())
	got := b.mini().Status.Conditions
	if meta.FindStatusCondition(got, "Theirs") == nil || !meta.IsStatusConditionTrue(got, miniv1.ConditionReady) {
		t.Errorf("conditions %+v", got)
	}
}

func keyOf(name string) types.NamespacedName { return types.NamespacedName{Name: name} }

// stale is a cache that still shows an older MiniNode.
type stale struct {
	client.Reader
	node *miniv1.MiniNode
}

func (s *stale) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	s.node.DeepCopyInto(obj.(*miniv1.MiniNode))
	return nil
}

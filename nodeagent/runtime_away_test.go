package nodeagent

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// An agent whose containerd is away beats, for its MiniNode and its core Node, says why nothing starts, and goes on when containerd
// is there again.
func TestRuntimeAwayAtTheStart(t *testing.T) {
	n := newNode(t, "containerd-away")
	n.run("before")
	n.shows("before", "Running")
	n.stop()
	n.runtime.SetDown(true)
	n.machine.Check = func(ctx context.Context) error { _, err := n.runtime.Version(ctx); return err }
	away := time.Now()
	n.start()
	beats := func(namespace string) {
		t.Helper()
		testenv.Eventually(t, func() string {
			lease := &coordinationv1.Lease{}
			if err := n.api.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: n.name}, lease); err != nil {
				return err.Error()
			}
			if !lease.Spec.RenewTime.After(away) {
				return "not renewed"
			}
			return ""
		})
	}
	beats(miniv1.SystemNamespace)
	beats(corev1.NamespaceNodeLease)
	ready := func(reason string) {
		t.Helper()
		testenv.Eventually(t, func() string {
			node := &miniv1.MiniNode{}
			if err := n.api.Get(t.Context(), types.NamespacedName{Name: n.name}, node); err != nil {
				return err.Error()
			}
			if got := meta.FindStatusCondition(node.Status.Conditions, miniv1.ConditionReady); got == nil || got.Reason != reason {
				return "another condition"
			}
			return ""
		})
	}
	ready(miniv1.ReasonRuntimeNotReady)
	n.runtime.SetDown(false)
	ready(miniv1.ReasonAgentReady)
	n.run("after")
	n.shows("after", "Running")
}

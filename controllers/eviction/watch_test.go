package eviction

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/eviction"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// What was said of a MiniPod is taken back although the first try fails, as it does when its agent wrote meanwhile; only then are
// the node's MiniPods left alone.
func TestUnmarkIsTriedAgain(t *testing.T) {
	pod := builders.Pod("ns", "pod").Node("n1").Obj()
	eviction.Mark(eviction.Eviction{Pod: pod, Reason: miniv1.ReasonDeletionByTaintManager})
	fails, lists := 1, 0
	c := fake.NewClientBuilder().WithScheme(testenv.Scheme()).WithStatusSubresource(&miniv1.MiniPod{}).
		WithIndex(&miniv1.MiniPod{}, index.PodNode, func(o client.Object) []string { return []string{o.(*miniv1.MiniPod).Status.NodeName} }).
		WithObjects(pod, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				if fails--; fails >= 0 {
					return errors.New("the agent wrote meanwhile")
				}
				return c.SubResource(sub).Patch(ctx, o, patch, opts...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				lists++
				return c.List(ctx, list, opts...)
			},
		}).Build()
	r := &reconciler{client: c, reader: c, recorder: events.NewFakeRecorder(10), now: time.Now, sightings: eviction.NewSightings(), nodes: map[string]*memory{}}
	look := func() error {
		_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "n1"}})
		return err
	}
	if err := look(); err == nil {
		t.Fatal("the failure is not told")
	}
	if err := look(); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	if target := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionDisruptionTarget); target != nil {
		t.Errorf("still said: %+v", target)
	}
	if before := lists; look() != nil || lists != before || r.isWatched("n1") {
		t.Error("MiniPods that do not matter are listed")
	}
}

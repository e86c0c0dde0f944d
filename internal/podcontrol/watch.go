package podcontrol

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Selection is what one owner could adopt: the MiniPods that its selector finds, which never changes.
type Selection struct {
	Owner    types.NamespacedName
	UID      types.UID
	Selector *metav1.LabelSelector
}

// SelectionOf is the selection of an owner.
func SelectionOf(owner client.Object, selector *metav1.LabelSelector) Selection {
	return Selection{Owner: client.ObjectKeyFromObject(owner), UID: owner.GetUID(), Selector: selector}
}

// understood is the selector of an owner. To understand one with a hundred thousand values takes longer than may pass with every event.
type understood struct {
	uid      types.UID
	selector labels.Selector // that finds nothing, where it cannot be understood
}

func (c *Control) understand(s Selection) labels.Selector {
	if found, ok := c.selectors.Load(s.Owner); ok && found.(understood).uid == s.UID {
		return found.(understood).selector
	}
	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	if err != nil {
		selector = labels.Nothing()
	}
	c.selectors.Store(s.Owner, understood{s.UID, selector})
	return selector
}

// Interest says which events of MiniPods wake which owners.
type Interest struct {
	// Selections are those of all owners in a namespace.
	Selections func(ctx context.Context, namespace string) ([]Selection, error)
	// Gather is how long MiniPods that come and go are gathered before their owner looks.
	Gather time.Duration
	// Changed tells whether a change counts for the owner of a MiniPod whose labels and owner stay, and how long more like
	// it are gathered before the owner looks.
	Changed func(before, after *miniv1.MiniPod) (delay time.Duration, counts bool)
}

// Events wakes the owners that a MiniPod's event concerns: its own, or, if it has none, all that select it.
func (c *Control) Events(in Interest) handler.EventHandler {
	wake := func(ctx context.Context, q queue, after time.Duration, pods ...client.Object) {
		for _, pod := range pods {
			for _, owner := range c.concerned(ctx, in, pod.(*miniv1.MiniPod)) {
				q.AddAfter(reconcile.Request{NamespacedName: owner}, after)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { wake(ctx, q, in.Gather, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*miniv1.MiniPod), e.ObjectNew.(*miniv1.MiniPod)
			if !maps.Equal(before.Labels, after.Labels) || ownerOf(before) != ownerOf(after) {
				wake(ctx, q, 0, before, after)
			} else if delay, counts := in.Changed(before, after); counts {
				wake(ctx, q, delay, after)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, q, in.Gather, e.Object) },
	}
}

// concerned are the owners that a MiniPod belongs to, or could belong to.
func (c *Control) concerned(ctx context.Context, in Interest, pod *miniv1.MiniPod) []types.NamespacedName {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		if owner.Kind != c.kind.Kind {
			return nil
		}
		return []types.NamespacedName{{Namespace: pod.Namespace, Name: owner.Name}}
	}
	if podstate.IsDeleting(pod) {
		return nil
	}
	selections, err := in.Selections(ctx, pod.Namespace)
	if err != nil {
		return nil // the cache answers, or the manager is going down
	}
	var out []types.NamespacedName
	for _, s := range selections {
		if c.understand(s).Matches(labels.Set(pod.Labels)) {
			out = append(out, s.Owner)
		}
	}
	return slices.Clip(out)
}

func ownerOf(pod *miniv1.MiniPod) types.UID {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		return owner.UID
	}
	return ""
}

// SameReadiness tells whether both versions of a MiniPod count alike, now and with time.
func SameReadiness(before, after *miniv1.MiniPod) bool {
	is := meta.FindStatusCondition(after.Status.Conditions, miniv1.ConditionReady)
	was := meta.FindStatusCondition(before.Status.Conditions, miniv1.ConditionReady)
	if is == nil || was == nil {
		return podstate.IsReady(before) == podstate.IsReady(after)
	}
	return is.Status == was.Status && is.LastTransitionTime.Equal(&was.LastTransitionTime)
}

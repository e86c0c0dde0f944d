// Package podcontrol is the ground that all controllers of MiniPods stand on: what of a namespace concerns an owner, how
// MiniPods are created, deleted, adopted and released for it, and which of their events wake it.
//
// An owner sees its own MiniPods and those that belong to nobody, by an index, and never a whole namespace. Nothing is
// remembered between passes but what the cache cannot know yet: the MiniPods just created and deleted (package
// expectations). Without them a pass that comes before its own watch events would do everything twice.
//
// What makes it hard: thousands of MiniPods at once. Creations run in parallel, in batches that double, so that a refused
// template costs one request.
package podcontrol

import (
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/expectations"
)

// Control handles the MiniPods of all owners of one kind. Safe for concurrent use by passes of different owners.
type Control struct {
	client   client.Client
	live     client.Reader
	kind     schema.GroupVersionKind
	tracker  string // a finalizer
	now      func() time.Time
	expected *expectations.Store
	// unseen is since when an owner waits for the cache.
	unseen sync.Map
	// selectors has what is understood of each owner's.
	selectors sync.Map
}

// New makes the Control of a kind of owner. Live reads past the cache that c reads from; now is the clock. The cache must
// have the indexes of package index.
func New(c client.Client, live client.Reader, kind schema.GroupVersionKind, now func() time.Time) *Control {
	return &Control{client: c, live: live, kind: kind, now: now, expected: expectations.New(now)}
}

// Tracked has every MiniPod hold this finalizer too, from birth or adoption on, and returns the same Control.
func (c *Control) Tracked(finalizer string) *Control {
	c.tracker = finalizer
	return c
}

// MiniPod is one as the owner's template asks for. It holds the agent's finalizer from birth, which saves a write when it is
// bound.
func (c *Control) MiniPod(owner client.Object, name string, template *miniv1.MiniPodTemplateSpec) *miniv1.MiniPod {
	finalizers := []string{miniv1.AgentFinalizer}
	if c.tracker != "" {
		finalizers = append(finalizers, c.tracker)
	}
	return &miniv1.MiniPod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			Name:            name,
			Labels:          maps.Clone(template.Metadata.Labels),
			Annotations:     maps.Clone(template.Metadata.Annotations),
			Finalizers:      finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, c.kind)},
		},
		Spec: *template.Spec.DeepCopy(),
	}
}

// Forget drops what is remembered of an owner that is gone.
func (c *Control) Forget(owner types.NamespacedName) {
	c.expected.Forget(owner)
	c.unseen.Delete(owner)
	c.selectors.Delete(owner)
}

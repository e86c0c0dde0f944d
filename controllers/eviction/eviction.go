// Package eviction moves MiniPods away from nodes whose core Node says so: those that do not tolerate its NoExecute taints,
// and all of a node that is drained.
//
// The idea: internal/eviction decides; this package brings it what it needs and does what it says. One reconcile is about one
// node name. The MiniPods of a node are listed only while something is the matter with it, a taint, a cordon or a drain, so
// that MiniPods that come and go on all other nodes cost nothing here.
//
// What makes it hard is the drain marker's finalizer. It is the only thing that makes `kubectl drain` wait, and it must never
// hold anything else up: it is taken off as soon as the node is uncordoned, or gone, or the guard of the installation is
// lifted; and a drain is said to be over only after a look past the cache.
package eviction

import (
	"context"
	"slices"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/eviction"
	"miniplane.dev/miniplane/internal/index"
)

// workers is how many nodes are looked at at a time.
const workers = 4

// Options of the controller.
type Options struct {
	// NoMarkers: `kubectl drain` is not to see MiniPods. Drain markers that are there are deleted.
	NoMarkers bool
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// ByObject is what this package needs the manager's cache to hold: of all native Pods, the drain markers; of all bindings
// of admission policies, the guard.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Pod{}: {
			Namespaces: map[string]cache.Config{miniv1.SystemNamespace: {}},
			Label:      labels.SelectorFromSet(labels.Set{miniv1.DrainMarkerLabel: "true"}),
		},
		&admissionv1.ValidatingAdmissionPolicyBinding{}: {Field: fields.OneTermEqualSelector("metadata.name", miniv1.UninstallGuard)},
	}
}

// Setup adds the controller to the manager.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	r := &reconciler{
		client:    mgr.GetClient(),
		reader:    mgr.GetAPIReader(),
		recorder:  mgr.GetEventRecorder("miniplane-eviction"),
		now:       opts.Now,
		noMarkers: opts.NoMarkers,
		sightings: eviction.NewSightings(),
		nodes:     map[string]*memory{},
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("eviction").
		Watches(&corev1.Node{}, r.onNode()).
		Watches(&miniv1.MiniNode{}, r.onMiniNode()).
		Watches(&miniv1.MiniPod{}, r.onMiniPod()).
		Watches(&corev1.Pod{}, r.onMarker()).
		Watches(&admissionv1.ValidatingAdmissionPolicyBinding{}, r.onGuard()).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
}

type reconciler struct {
	client    client.Client
	reader    client.Reader // past the cache
	recorder  events.EventRecorder
	now       func() time.Time
	noMarkers bool
	sightings *eviction.Sightings

	mu    sync.Mutex
	nodes map[string]*memory
}

// memory is what is remembered of a node between two looks.
type memory struct {
	watched bool   // its MiniPods matter
	told    string // by the last Event about what blocks its drain
}

// Reconcile looks at one node name.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	seen, err := r.observe(ctx, req.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := eviction.Decide(seen, r.now())
	if plan.Marker == eviction.MarkerRelease && seen.Draining() {
		if left, err := r.lookAgain(ctx, seen); err != nil || left {
			return ctrl.Result{RequeueAfter: time.Second}, err
		}
	}
	if err := r.execute(ctx, seen, plan); err != nil {
		return ctrl.Result{}, err
	}
	r.tellBlocking(seen, plan.Blocking)
	r.rest(&seen)
	if plan.Again.IsZero() {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: max(plan.Again.Sub(r.now()), time.Millisecond)}, nil
}

// observe gathers what the caches show of a node.
func (r *reconciler) observe(ctx context.Context, name string) (eviction.Observed, error) {
	seen := eviction.Observed{Name: name, Node: &corev1.Node{}, MiniNode: &miniv1.MiniNode{}, Marker: &corev1.Pod{}}
	found := func(object client.Object, namespace, name string) (bool, error) {
		err := r.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
		return err == nil, client.IgnoreNotFound(err)
	}
	if ok, err := found(seen.Node, "", name); err != nil {
		return seen, err
	} else if !ok {
		seen.Node = nil
	}
	if ok, err := found(seen.MiniNode, "", name); err != nil {
		return seen, err
	} else if !ok {
		seen.MiniNode = nil
	}
	if ok, err := found(seen.Marker, miniv1.SystemNamespace, eviction.MarkerName(name)); err != nil {
		return seen, err
	} else if !ok {
		seen.Marker = nil
	}
	var guard admissionv1.ValidatingAdmissionPolicyBinding
	if _, err := found(&guard, "", miniv1.UninstallGuard); err != nil {
		return seen, err
	}
	seen.WantMarkers = slices.Contains(guard.Spec.ValidationActions, admissionv1.Deny) && !r.noMarkers
	var taints []corev1.Taint
	if seen.Node != nil {
		taints = seen.Node.Spec.Taints
	}
	seen.Taints = r.sightings.Observe(name, taints, r.now())
	if !r.watch(&seen) {
		return seen, nil
	}
	pods, err := r.podsOn(ctx, r.client, name)
	if err != nil {
		return seen, err
	}
	seen.Pods, seen.Arrived = pods, r.sightings.Arrivals(name, pods, r.now())
	return seen, nil
}

// matters tells whether something is the matter with the node that its MiniPods have to do with.
func matters(seen *eviction.Observed) bool {
	return len(seen.Taints) > 0 || seen.Node != nil && seen.Node.Spec.Unschedulable
}

// watch tells whether to look at the node's MiniPods now, and at every one that comes or goes: while they matter, and until what
// was said of them is taken back.
func (r *reconciler) watch(seen *eviction.Observed) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.nodes[seen.Name]
	if seen.Node == nil && seen.MiniNode == nil {
		delete(r.nodes, seen.Name)
		return false
	}
	if !ok {
		known = &memory{watched: true} // perhaps by the manager before this one
		r.nodes[seen.Name] = known
	}
	known.watched = known.watched || matters(seen)
	return known.watched
}

// rest ends the watch over MiniPods that do not matter any more, once everything is done.
func (r *reconciler) rest(seen *eviction.Observed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.nodes[seen.Name]; ok && !matters(seen) {
		known.watched = false
	}
}

func (r *reconciler) podsOn(ctx context.Context, from client.Reader, node string) ([]*miniv1.MiniPod, error) {
	var list miniv1.MiniPodList
	if err := from.List(ctx, &list, client.MatchingFields{index.PodNode: node}); err != nil {
		return nil, err
	}
	var out []*miniv1.MiniPod
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// lookAgain tells whether, past the cache, there are MiniPods that the drain waits for.
func (r *reconciler) lookAgain(ctx context.Context, seen eviction.Observed) (left bool, err error) {
	pods, err := r.podsOn(ctx, r.reader, seen.Name)
	for _, pod := range pods {
		left = left || seen.IsDrained(pod)
	}
	return left, err
}

// sameToUs tells whether two versions of a core Node say the same about who may stay.
func sameToUs(a, b *corev1.Node) bool {
	return a.Spec.Unschedulable == b.Spec.Unschedulable && equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) &&
		a.DeletionTimestamp.IsZero() == b.DeletionTimestamp.IsZero()
}

package replicaset

import (
	"context"
	"errors"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/adopt"
	"miniplane.dev/miniplane/internal/replicas"
)

const (
	// burst is how many MiniPods one pass creates or deletes at most, so that the status follows.
	burst = 1000
	// inFlight is how many requests of one pass are under way at a time.
	inFlight = 64
	// maxBase leaves room for a random end of five in a name of 63, which is also a host name.
	maxBase = 63 - 5
)

// claim adopts and releases MiniPods.
func (r *Reconciler) claim(ctx context.Context, s *scope) error {
	owner := adopt.Owner{Client: r.client, Live: r.live, Object: s.set, Kind: kind}
	_, err := adopt.Settle(ctx, owner, s.todo.Claims)
	return err
}

// create makes the missing MiniPods, in batches that double as long as all goes well.
func (r *Reconciler) create(ctx context.Context, s *scope) error {
	taken := sets.New[string]()
	for _, pod := range s.owned {
		taken.Insert(pod.Name)
	}
	for size := range replicas.Batches(min(s.todo.Create, burst)) {
		pods := make([]*miniv1.MiniPod, size)
		for i := range pods {
			pods[i] = newPod(s.set, taken)
		}
		err := inParallel(pods, func(pod *miniv1.MiniPod) error {
			if err := r.client.Create(ctx, pod); err != nil {
				return err
			}
			r.expected.ExpectCreated(s.key, pod.UID)
			return nil
		}, func(pod *miniv1.MiniPod) { s.active = append(s.active, pod) })
		if err != nil {
			return s.fail(miniv1.ReasonFailedCreate, err)
		}
	}
	return nil
}

// delete removes the MiniPods that are too many.
func (r *Reconciler) delete(ctx context.Context, s *scope) error {
	victims := s.todo.Delete[:min(len(s.todo.Delete), burst)]
	gone := sets.New[types.UID]()
	err := inParallel(victims, func(pod *miniv1.MiniPod) error {
		uid := pod.UID
		err := r.client.Delete(ctx, pod, client.Preconditions{UID: &uid})
		if err == nil {
			r.expected.ExpectDeleted(s.key, uid)
		}
		return client.IgnoreNotFound(err)
	}, func(pod *miniv1.MiniPod) { gone.Insert(pod.UID) })

	var left []*miniv1.MiniPod
	for _, pod := range s.active {
		if !gone.Has(pod.UID) {
			left = append(left, pod)
		}
	}
	s.active = left
	if err != nil {
		return s.fail(miniv1.ReasonFailedDelete, err)
	}
	return nil
}

// inParallel does one thing to all MiniPods, and calls done for those it succeeded with. It returns the first error.
func inParallel(pods []*miniv1.MiniPod, do func(*miniv1.MiniPod) error, done func(*miniv1.MiniPod)) error {
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		first error
		slots = make(chan struct{}, inFlight)
	)
	for _, pod := range pods {
		slots <- struct{}{}
		all.Go(func() {
			err := do(pod)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done(pod)
			} else if first == nil {
				first = err
			}
		})
	}
	all.Wait()
	return first
}

// fail notes an error for the status, and passes it on. A namespace that is going away is no failure: nothing is created
// in it any more, and the set goes with it.
func (s *scope) fail(reason string, err error) error {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	message := err.Error()
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		message = status.Status().Message
	}
	s.failure = replicas.Failure{Reason: reason, Message: message, Final: apierrors.IsInvalid(err)}
	return err
}

// newPod is a MiniPod as the set's template asks for, with a name that is not taken. It holds the agent's finalizer from
// birth, which saves a write when it is bound.
func newPod(set *miniv1.MiniReplicaSet, taken sets.Set[string]) *miniv1.MiniPod {
	base := set.Name + "-"
	if len(base) > maxBase {
		base = base[:maxBase]
	}
	name := base + rand.String(5)
	for taken.Has(name) {
		name = base + rand.String(5)
	}
	taken.Insert(name)
	return &miniv1.MiniPod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       set.Namespace,
			Name:            name,
			Labels:          maps.Clone(set.Spec.Template.Metadata.Labels),
			Annotations:     maps.Clone(set.Spec.Template.Metadata.Annotations),
			Finalizers:      []string{miniv1.AgentFinalizer},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)},
		},
		Spec: *set.Spec.Template.Spec.DeepCopy(),
	}
}

package job

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jobplan"
)

// memory is what this process knows of a MiniJob and the cache may not. Only its own passes use it, one at a time.
type memory struct {
	uid types.UID
	// compared: cache and API server were seen to agree, once. Since then nobody but this process counts.
	compared bool
	// replaced are versions of the MiniJob that this process has written over.
	replaced sets.Set[string]
	// released are MiniPods that it took the finalizer off.
	released sets.Set[types.UID]
	// backoff is what it knows of failures; nil when nothing.
	backoff *jobplan.Backoff
}

// remember is the memory of a MiniJob. Another of the same name has its own.
func (r *Reconciler) remember(job *miniv1.MiniJob) *memory {
	key := client.ObjectKeyFromObject(job)
	if found, ok := r.memories.Load(key); ok {
		if m := found.(*memory); m.uid == job.UID {
			return m
		}
		r.forget(key)
	}
	m := &memory{uid: job.UID, replaced: sets.New[string](), released: sets.New[types.UID]()}
	r.memories.Store(key, m)
	return m
}

// outdated tells whether this is a version that was written over.
func (m *memory) outdated(job *miniv1.MiniJob) bool {
	if m.replaced.Has(job.ResourceVersion) {
		return true
	}
	m.replaced.Clear()
	return false
}

// forgetSeen drops of the released MiniPods those that the cache shows without the finalizer, or no more.
func (m *memory) forgetSeen(pods []*miniv1.MiniPod) {
	if m.released.Len() == 0 {
		return
	}
	still := sets.New[types.UID]()
	for _, pod := range pods {
		if m.released.Has(pod.UID) && slices.Contains(pod.Finalizers, miniv1.JobFinalizer) {
			still.Insert(pod.UID)
		}
	}
	m.released = still
}

package daemonplan

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// firstWait is how long a MiniPod that failed waits to be replaced when one failed on its node shortly before. It doubles each time, up
	// to lastWait.
	firstWait, lastWait = time.Second, 15 * time.Minute
	// forgetAfter is how long none must have failed on a node for the next to be replaced at once again.
	forgetAfter = 2 * lastWait
)

// Failures remember how often MiniPods of sets failed on nodes, since one that fails as soon as it is there would be made anew for ever. After
// a restart they begin anew, as Kubernetes' own controller does. Safe for concurrent use.
type Failures struct {
	mu   sync.Mutex
	sets map[types.NamespacedName]map[string]failed
}

type failed struct {
	last time.Time
	wait time.Duration
}

// NewFailures remember nothing yet.
func NewFailures() *Failures { return &Failures{sets: map[types.NamespacedName]map[string]failed{}} }

// Note takes down that a MiniPod of the set that failed on the node is being replaced now.
func (f *Failures) Note(set types.NamespacedName, node string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	nodes := f.sets[set]
	if nodes == nil {
		nodes = map[string]failed{}
		f.sets[set] = nodes
	}
	wait := firstWait
	if before, ok := nodes[node]; ok && now.Sub(before.last) <= forgetAfter {
		wait = min(2*before.wait, lastWait)
	}
	nodes[node] = failed{last: now, wait: wait}
}

// Retry tells, by node, when the next that fails may be replaced.
func (f *Failures) Retry(set types.NamespacedName, now time.Time) map[string]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]time.Time{}
	for node, failed := range f.sets[set] {
		if now.Sub(failed.last) > forgetAfter {
			delete(f.sets[set], node)
			continue
		}
		out[node] = failed.last.Add(failed.wait)
	}
	return out
}

// Forget drops what is remembered of a set that is gone.
func (f *Failures) Forget(set types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sets, set)
}

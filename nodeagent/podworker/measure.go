package podworker

import (
	"maps"
	"slices"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/podstate"
)

const (
	// measureEvery is how often it is looked at what the emptyDirs on disk of a MiniPod take that has limits for them; as a kubelet's.
	measureEvery = 10 * time.Second
	// measureRest is how many times longer than a look took nobody looks again.
	measureRest = 20
)

// measuring is how far the looking is.
type measuring struct {
	runs bool
	next time.Time
}

// measure has it looked at, as a job, what the emptyDirs on disk of a MiniPod take, if there are limits for them. One after the other on a node.
func (w *worker) measure(desired *miniv1.MiniPod) {
	limits := podplan.DiskLimits(desired)
	if limits == nil || w.measuring.runs || w.observed.Evicted != "" || w.observed.Gone.Volumes || podstate.IsDeleting(desired) || podstate.IsFinished(desired) ||
		w.pool.Clock.Now().Before(w.measuring.next) {
		return
	}
	w.measuring.runs = true
	w.beside(func() change {
		var used map[string]int64
		var err error
		var took time.Duration
		w.pool.measures.turn(w.pullContext, desired.Namespace, func() {
			began := w.pool.Clock.Now()
			used, err = w.pool.Volumes.Usage(w.pullContext, w.uid, slices.Sorted(maps.Keys(limits)))
			took = w.pool.Clock.Since(began)
		})
		return func(o *view) {
			rest := max(measureEvery, measureRest*took)
			w.measuring = measuring{next: w.pool.Clock.Now().Add(rest)}
			if o.Evicted = podplan.Exceeds(desired, used); o.Evicted != "" {
				return
			}
			if err != nil && w.pullContext.Err() == nil {
				w.pool.Log.Info("Cannot find out what volumes take of the disk; trying again later", "pod", w.uid, "err", err.Error())
			}
			w.pool.Clock.AfterFunc(rest, func() { w.tell(func(*inbox) {}) })
		}
	})
}

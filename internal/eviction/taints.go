package eviction

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

// Taint is a NoExecute taint, and since when this manager sees it.
type Taint struct {
	corev1.Taint
	Since time.Time
}

// concerns tells whether MiniPods have to tolerate a taint in order to stay. They need not tolerate what Kubernetes finds out
// about the kubelet: MiniPods run without it, and whether their own agent lives is the node controller's business.
func concerns(taint *corev1.Taint) bool {
	return taint.Effect == corev1.TaintEffectNoExecute && taint.Key != corev1.TaintNodeNotReady && taint.Key != corev1.TaintNodeUnreachable
}

// Sightings remember since when each node is seen with its taints, and its MiniPods under them. What a taint's timeAdded and a
// MiniPod's binding say is not asked: other clocks wrote that, or this one before it was set, and a clock that is set forward
// would end all tolerations at once. After a restart the time begins anew, as it does with Kubernetes' own controller: what stays
// too long does no harm. Safe for concurrent use.
type Sightings struct {
	mu    sync.Mutex
	first map[string]map[corev1.Taint]time.Time
	pods  map[string]map[types.UID]time.Time
}

// NewSightings remember nothing yet.
func NewSightings() *Sightings {
	return &Sightings{first: map[string]map[corev1.Taint]time.Time{}, pods: map[string]map[types.UID]time.Time{}}
}

// Observe notes the taints that a node has now, forgets those it has no longer, and returns those that concern MiniPods.
func (s *Sightings) Observe(node string, all []corev1.Taint, now time.Time) []Taint {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, after := s.first[node], map[corev1.Taint]time.Time{}
	var out []Taint
	for _, taint := range all {
		if !concerns(&taint) {
			continue
		}
		key := corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: taint.Effect}
		since, known := before[key]
		if !known {
			since = now
		}
		after[key] = since
		out = append(out, Taint{taint, since})
	}
	if delete(s.first, node); len(after) > 0 {
		s.first[node] = after
	} else {
		delete(s.pods, node)
	}
	return out
}

// Arrivals notes the MiniPods that a node has now, forgets those it has no longer, and tells since when each is seen there under
// its taints; nil where the node has none.
func (s *Sightings) Arrivals(node string, pods []*miniv1.MiniPod, now time.Time) map[types.UID]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.first[node]) == 0 {
		return nil
	}
	before, after := s.pods[node], make(map[types.UID]time.Time, len(pods))
	for _, pod := range pods {
		since, known := before[pod.UID]
		if !known {
			since = now
		}
		after[pod.UID] = since
	}
	s.pods[node] = after
	return after
}

// end is when a MiniPod's time on a node is over. The zero value means never.
type end struct {
	now   bool
	at    time.Time
	taint *corev1.Taint // the one that ends it
}

func (e end) anyLonger() string {
	if e.now {
		return ""
	}
	return " any longer"
}

// stay tells how long a MiniPod may stay with these taints: not at all unless all are tolerated, and then as long as the least
// patient of its tolerations says. The time counts from when the taint was seen, or the MiniPod where it arrived later: it
// came in spite of the taint, and would come again.
func stay(pod *miniv1.MiniPod, arrived time.Time, all []Taint) end {
	var soonest end
	for i := range all {
		taint := &all[i]
		patience, tolerated := tolerates(pod.Spec.Tolerations, &taint.Taint)
		if !tolerated {
			return end{now: true, taint: &taint.Taint}
		}
		if patience == nil {
			continue
		}
		since := taint.Since
		if arrived.After(since) {
			since = arrived
		}
		if at := since.Add(*patience); soonest.at.IsZero() || at.Before(soonest.at) {
			soonest = end{at: at, taint: &taint.Taint}
		}
	}
	return soonest
}

// tolerates gives the shortest time for which the tolerations cover the taint, nil for ever.
func tolerates(all []miniv1.Toleration, taint *corev1.Taint) (shortest *time.Duration, tolerated bool) {
	for i := range all {
		if !taints.Matches(&all[i], taint) {
			continue
		}
		tolerated = true
		if seconds := all[i].TolerationSeconds; seconds != nil {
			patience := taints.Patience(*seconds)
			if shortest == nil || patience < *shortest {
				shortest = &patience
			}
		}
	}
	return shortest, tolerated
}

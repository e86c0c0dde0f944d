package jobplan

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/replicas"
)

// manage brings the number of MiniPods to what it should be: it drops some, or creates some.
func (p *planner) manage() {
	p.Drop = p.surplus(p.wanted())
	if p.Drop = append(p.Drop, p.pods.strays...); len(p.Drop) > most {
		p.Drop = p.Drop[:most]
	}
	if len(p.Drop) > 0 || p.spec.suspended {
		return
	}
	missing := p.wanted() - len(p.pods.active)
	if p.spec.late {
		missing -= len(p.terminating)
	}
	if missing = min(missing, most); missing <= 0 {
		return
	}
	if p.spec.perIndex < 0 {
		if left := p.Plan.Backoff.left(p.Now); left > 0 {
			p.wakeAfter(left)
			return
		}
	}
	p.create(missing)
}

// wanted is how many MiniPods should be active.
func (p *planner) wanted() int {
	switch {
	case p.spec.suspended:
		return 0
	case p.spec.queue && p.succeeded > 0:
		return len(p.pods.active)
	case p.spec.queue:
		return p.spec.parallelism
	}
	return max(0, min(p.spec.completions-p.succeeded, p.spec.parallelism))
}

// surplus are the active MiniPods that are too many: of those without an index that is wanted, all, of those with the same index, all
// but one, and of the rest as many as there are too many, those first that are missed least.
func (p *planner) surplus(wanted int) []*miniv1.MiniPod {
	ranked := replicas.Victims(p.pods.active, nil)
	tooMany := len(ranked) - wanted
	if !p.spec.indexed {
		return ranked[:max(0, tooMany)]
	}
	var out, left []*miniv1.MiniPod
	seen := map[int]bool{}
	for _, pod := range slices.Backward(ranked) { // those that are missed most stay
		index := p.indexOf(pod)
		if index == noIndex || seen[index] {
			out = append(out, pod)
			continue
		}
		seen[index] = true
		left = append(left, pod)
	}
	slices.Reverse(left)
	return append(out, left[:min(len(left), max(0, tooMany-len(out)))]...)
}

func (p *planner) create(n int) {
	if !p.spec.indexed {
		for range n {
			p.Create = append(p.Create, Creation{Index: noIndex})
		}
		return
	}
	busy := p.done.With(p.given)
	var now []int
	for _, pod := range p.Pods {
		if index := p.indexOf(pod); index != noIndex && p.keepsIndex(pod) {
			now = append(now, index)
		}
	}
	// An index that waits after a failure holds up no other.
	for _, index := range busy.With(IndexesOf(now...)).Missing(n+len(p.delayed), p.spec.completions) {
		if len(p.Create) == n {
			return
		}
		creation := Creation{Index: index, PerIndex: p.spec.perIndex >= 0}
		if before := p.delayed[index]; before != nil {
			if left := (Backoff{Failures: failuresOf(before) + 1, Last: believable(before, p.Now)}).left(p.Now); left > 0 {
				p.wakeAfter(left)
				continue
			}
			creation.Failures, creation.Ignored = p.failuresAfter(before)
		}
		p.Create = append(p.Create, creation)
	}
}

// keepsIndex tells whether no other MiniPod of its index may be created beside this one.
func (p *planner) keepsIndex(pod *miniv1.MiniPod) bool {
	active := p.pods.byUID[pod.UID] != nil && !Ended(pod) && pod.DeletionTimestamp == nil
	return active || p.spec.late && p.terminating.Has(pod.UID)
}

// failuresAfter is how often an index has failed with this MiniPod.
func (p *planner) failuresAfter(pod *miniv1.MiniPod) (counted, ignored int) {
	counted = number(pod, batchv1.JobIndexFailureCountAnnotation, 0)
	ignored = number(pod, batchv1.JobIndexIgnoredFailureCountAnnotation, 0)
	if p.meaning(pod).ignored {
		return counted, ignored + 1
	}
	return counted + 1, ignored
}

// trim finds what is kept beyond Keep: those that ended well go first, the oldest of them first.
func (p *planner) trim() {
	excess := len(p.pods.kept) - Keep
	if excess <= 0 || p.Job.DeletionTimestamp != nil {
		return
	}
	oldest := slices.SortedFunc(slices.Values(p.pods.kept), func(a, b *miniv1.MiniPod) int {
		rank := func(pod *miniv1.MiniPod) int {
			if succeeded(pod) {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), endedAt(a).Compare(endedAt(b)), cmp.Compare(a.Name, b.Name))
	})
	p.Trim = oldest[:min(excess, most)]
}

// afterwards looks after a MiniJob that is complete or has failed: nothing of it should run, and it may be time for it to go.
func (p *planner) afterwards() {
	p.Status.ObservedGeneration = p.Job.Generation
	p.Plan.Backoff = Backoff{}
	if p.Job.DeletionTimestamp == nil {
		running := slices.Concat(p.pods.active, p.pods.strays)
		p.End = running[:min(len(running), most)]
	}
	p.Release = p.pods.tracked[:min(len(p.pods.tracked), most)]
	p.trim()
	if p.Job.Spec.TTLSecondsAfterFinished == nil || p.Job.DeletionTimestamp != nil {
		return
	}
	left := finishedAt(&p.Status).Add(time.Duration(*p.Job.Spec.TTLSecondsAfterFinished) * time.Second).Sub(p.Now)
	p.Expired = left <= 0
	p.wakeAfter(left)
}

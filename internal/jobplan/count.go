package jobplan

import (
	"cmp"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// fold moves what is written down, and has no finalizer any more, into the counts.
func (p *planner) fold() {
	fold(&p.Status, func(uid types.UID) bool { return p.pods.byUID[uid] != nil })
}

func fold(status *miniv1.MiniJobStatus, tracked func(types.UID) bool) {
	written := status.UncountedTerminatedPods
	if written == nil {
		return
	}
	waits := func(uids []string, count *int32) []string {
		left := slices.DeleteFunc(slices.Clone(uids), func(uid string) bool { return !tracked(types.UID(uid)) })
		*count += int32(len(uids) - len(left))
		return slices.Clip(left)
	}
	now := &miniv1.UncountedTerminatedPods{Succeeded: waits(written.Succeeded, &status.Succeeded), Failed: waits(written.Failed, &status.Failed)}
	if status.UncountedTerminatedPods = now; len(now.Succeeded)+len(now.Failed) == 0 {
		status.UncountedTerminatedPods = nil
	}
}

// uncounted are the UIDs in a status; never nil.
func uncounted(s *miniv1.MiniJobStatus) *miniv1.UncountedTerminatedPods {
	if s.UncountedTerminatedPods == nil {
		return &miniv1.UncountedTerminatedPods{}
	}
	return s.UncountedTerminatedPods
}

// room is how many UIDs the status can take yet.
func (p *planner) room() int {
	u := uncounted(&p.Status)
	return mostUncounted - len(u.Succeeded) - len(u.Failed)
}

// ended are the MiniPods that have, or count as if they had, and are not written down by UID.
type ended struct{ succeeded, failed []*miniv1.MiniPod }

func (p *planner) find() (out ended) {
	for _, pod := range p.pods.tracked {
		switch {
		case p.written[pod.UID], !p.counts(pod):
		case succeeded(pod):
			out.succeeded = append(out.succeeded, pod)
		case p.hasFailed(pod):
			out.failed = append(out.failed, pod)
		}
	}
	for _, pods := range [][]*miniv1.MiniPod{out.succeeded, out.failed} {
		slices.SortFunc(pods, func(a, b *miniv1.MiniPod) int {
			return cmp.Or(endedAt(a).Compare(endedAt(b)), cmp.Compare(a.Name, b.Name))
		})
	}
	return out
}

// know works out how many MiniPods, and which indexes, succeeded and failed, with those that are not written down yet.
func (p *planner) know() {
	u := uncounted(&p.Status)
	p.written = map[types.UID]bool{}
	for _, uid := range slices.Concat(u.Succeeded, u.Failed) {
		p.written[types.UID(uid)] = true
	}
	p.news = p.find()
	news := p.news
	if p.Observed.Backoff == nil {
		done, failed := p.earlier()
		b := Backoff{}.with(p.Now, done, failed)
		p.Observed.Backoff = &b
	}
	p.knowIndexes(news)
	p.failed = int(p.Status.Failed) + len(u.Failed)
	needs := 0
	for _, pod := range news.failed {
		if !p.meaning(pod).ignored {
			p.failed++
			if p.delayed[p.indexOf(pod)] != pod {
				needs++
			}
		}
	}
	if p.spec.indexed {
		p.succeeded = p.done.Count()
	} else {
		p.succeeded = int(p.Status.Succeeded) + len(u.Succeeded) + len(news.succeeded)
		needs += len(news.succeeded)
	}
	p.overflow = needs > p.room()
}

// earlier are the MiniPods that have ended and are written down or counted: what a manager that has just started can still know of
// earlier failures.
func (p *planner) earlier() (done, failed []*miniv1.MiniPod) {
	for _, pod := range p.Pods {
		if p.pods.byUID[pod.UID] != nil && !p.written[pod.UID] {
			continue
		}
		if succeeded(pod) {
			done = append(done, pod)
		} else if pod.Status.Phase == miniv1.PodFailed {
			failed = append(failed, pod)
		}
	}
	return done, failed
}

func (p *planner) meaning(pod *miniv1.MiniPod) meaning {
	return meaningOf(p.Job.Spec.PodFailurePolicy, pod)
}

func (p *planner) knowIndexes(news ended) {
	if !p.spec.indexed {
		return
	}
	var now []int
	for _, pod := range news.succeeded {
		now = append(now, p.indexOf(pod))
	}
	p.done = ParseIndexes(p.Status.CompletedIndexes, p.spec.completions).With(IndexesOf(now...))
	if p.spec.perIndex < 0 {
		return
	}
	if p.Status.FailedIndexes != nil {
		p.given = ParseIndexes(*p.Status.FailedIndexes, p.spec.completions)
	}
	now = nil
	for _, pod := range news.failed {
		index, m := p.indexOf(pod), p.meaning(pod)
		if !p.done.Has(index) && (m.failsIndex || !m.ignored && number(pod, batchv1.JobIndexFailureCountAnnotation, 0) >= p.spec.perIndex) {
			now = append(now, index)
		}
	}
	p.given = p.given.With(IndexesOf(now...))
	p.delay(news.failed)
}

// delay finds, for each index that is to be tried again and is not yet, the failed MiniPod that knows most of its failures.
func (p *planner) delay(failed []*miniv1.MiniPod) {
	tried := map[int]bool{}
	for _, pod := range p.pods.active {
		tried[p.indexOf(pod)] = true
	}
	p.delayed = map[int]*miniv1.MiniPod{}
	for _, pod := range failed { // in the order in which they ended
		index := p.indexOf(pod)
		if tried[index] || p.done.Has(index) || p.given.Has(index) {
			continue
		}
		if other := p.delayed[index]; other == nil || failuresOf(other) <= failuresOf(pod) {
			p.delayed[index] = pod
		}
	}
}

// failuresOf is how often an index had failed before this MiniPod, counted or not.
func failuresOf(pod *miniv1.MiniPod) int {
	return number(pod, batchv1.JobIndexFailureCountAnnotation, 0) + number(pod, batchv1.JobIndexIgnoredFailureCountAnnotation, 0)
}

// settle writes down what has ended, and decides who can be let go and who has to end.
func (p *planner) settle() {
	p.writeIndexes()
	var counted, told ended // told is what tells of failures and successes
	room := p.room()
	for _, pod := range p.inOrder() {
		if len(p.Release) == most {
			break
		}
		what := p.fate(pod)
		if (what.asFailed || what.asSucceeded) && room == 0 {
			continue
		}
		switch {
		case what.asFailed:
			counted.failed = append(counted.failed, pod)
			room--
		case what.asSucceeded:
			counted.succeeded = append(counted.succeeded, pod)
			room--
		}
		if !p.written[pod.UID] && p.counts(pod) {
			switch {
			case succeeded(pod):
				told.succeeded = append(told.succeeded, pod)
			case what.goes && p.hasFailed(pod):
				told.failed = append(told.failed, pod)
			}
		}
		if what.ends {
			p.End = append(p.End, pod)
		}
		if what.goes {
			p.Release = append(p.Release, pod)
		}
	}
	p.endStrays()
	p.write(counted)
	p.Plan.Backoff = p.Observed.Backoff.with(p.Now, told.succeeded, told.failed)
	p.First = len(p.Release)+len(p.End) > 0
}

// endStrays ends with the MiniJob what of it has no finalizer any more.
func (p *planner) endStrays() {
	if p.verdict != nil && p.Job.DeletionTimestamp == nil {
		p.End = append(p.End, p.pods.strays[:min(len(p.pods.strays), most-len(p.End))]...)
	}
}

// inOrder are the tracked MiniPods in the order in which they ended; those that have not come last.
func (p *planner) inOrder() []*miniv1.MiniPod {
	out := slices.Concat(p.news.succeeded, p.news.failed)
	first := map[types.UID]bool{}
	for _, pod := range out {
		first[pod.UID] = true
	}
	for _, pod := range p.pods.tracked {
		if !first[pod.UID] {
			out = append(out, pod)
		}
	}
	return out
}

// fate is what becomes of one tracked MiniPod.
type fate struct {
	// asSucceeded and asFailed: its UID is to be written down.
	asSucceeded, asFailed bool
	// goes: its finalizer can be taken off then. ends: it has to be deleted before.
	goes, ends bool
}

func (p *planner) fate(pod *miniv1.MiniPod) fate {
	over := p.verdict != nil || p.Job.DeletionTimestamp != nil
	lost := p.verdict != nil && !p.verdict.success && p.Job.DeletionTimestamp == nil
	failed := p.hasFailed(pod)
	f := fate{ends: p.verdict != nil && podstate.IsActive(pod) && p.Job.DeletionTimestamp == nil}
	switch {
	case p.written[pod.UID]:
		f.goes = true
	case succeeded(pod):
		f.goes, f.asSucceeded = true, !p.spec.indexed
	case failed && !over && p.delayed[p.indexOf(pod)] == pod:
	case failed, lost:
		// What ends after the success was written down ends because of it.
		because := p.verdict != nil && p.verdict.success && p.verdict.known
		f.goes, f.asFailed = true, p.counts(pod) && !because && !p.meaning(pod).ignored
	default:
		f.goes = over
	}
	return f
}

func (p *planner) write(counted ended) {
	if len(counted.succeeded)+len(counted.failed) == 0 {
		return
	}
	u := p.Status.UncountedTerminatedPods
	if u == nil {
		u = &miniv1.UncountedTerminatedPods{}
		p.Status.UncountedTerminatedPods = u
	}
	for _, pod := range counted.succeeded {
		u.Succeeded = append(u.Succeeded, string(pod.UID))
	}
	for _, pod := range counted.failed {
		u.Failed = append(u.Failed, string(pod.UID))
	}
}

func (p *planner) writeIndexes() {
	if !p.spec.indexed {
		return
	}
	p.Status.CompletedIndexes, p.Status.Succeeded = p.done.String(), int32(p.done.Count())
	if p.spec.perIndex >= 0 {
		text := p.given.String()
		p.Status.FailedIndexes = &text
	}
}

package podplan

import (
	"iter"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Marks are when a MiniPod reached the points of its first start, as far as this process saw it; zero where it did not.
type Marks struct {
	Sandbox, Initialized, Images, Started, Ready time.Time
}

// Mark notes which points a MiniPod has reached by now. Its being ready is told by its status; see MarkReady.
func (o *Observation) Mark(pod *miniv1.MiniPod, now time.Time) {
	m := &o.Marks
	if pod == nil || o.Late || !starts(pod) || !m.Started.IsZero() {
		return
	}
	r := rowOf(pod.Spec.AllContainers())
	m.Sandbox = reached(m.Sandbox, o.Sandbox == SandboxWhole && o.Address.IsValid(), now)
	m.Initialized = reached(m.Initialized, r.inTurn() && r.stage(o, false).lets(r.places()-1), now)
	m.Images = reached(m.Images, o.mains(pod, func(c *miniv1.Container, made bool) bool {
		return made || o.ImageOf(c).State == ImagePresent
	}), now)
	m.Started = reached(m.Started, o.mains(pod, func(c *miniv1.Container, made bool) bool {
		return made && o.history(c.Name)[0].State != StateCreated
	}), now)
}

// MarkReady remembers when a status first told that the MiniPod is ready.
func (o *Observation) MarkReady(status *miniv1.MiniPodStatus) {
	if t := status.StartTimeline; t != nil && t.ReadyTime != nil && o.Marks.Ready.IsZero() {
		o.Marks.Ready = t.ReadyTime.Time
	}
}

// reached is when a point was reached first.
func reached(before time.Time, is bool, now time.Time) time.Time {
	if before.IsZero() && is {
		return now
	}
	return before
}

// mains tells whether something holds for all main containers.
func (o *Observation) mains(pod *miniv1.MiniPod, holds func(c *miniv1.Container, made bool) bool) bool {
	for kind, c := range pod.Spec.AllContainers() {
		if kind == miniv1.ContainerMain && !holds(c, len(o.history(c.Name)) > 0) {
			return false
		}
	}
	return true
}

// starts tells whether the points of the first start of a MiniPod are still to be told. Of one that an agent brought up that told none,
// nothing is known any more.
func starts(pod *miniv1.MiniPod) bool {
	t := pod.Status.StartTimeline
	if t == nil || t.ObservedTime == nil {
		return pod.Status.Phase == miniv1.PodPending || pod.Status.Phase == ""
	}
	return t.ReadyTime == nil
}

// setTimeline tells the points that were reached, and keeps those that were told before. Who came late saw of all points only how one became ready that had
// not told it yet.
func setTimeline(pod *miniv1.MiniPod, status *miniv1.MiniPodStatus, o *Observation, now time.Time) {
	t := status.StartTimeline
	if !starts(pod) || o.TakenUp.IsZero() || o.Late && (t == nil || t.StartedTime == nil) {
		return
	}
	if t == nil {
		t = &miniv1.StartTimeline{}
		status.StartTimeline = t
	}
	m := o.Marks
	if meta.IsStatusConditionTrue(status.Conditions, miniv1.ConditionReady) {
		m.Ready = reached(m.Ready, true, now)
	}
	for _, point := range []struct {
		at   time.Time
		told **metav1.MicroTime
	}{{o.TakenUp, &t.ObservedTime}, {m.Sandbox, &t.SandboxTime}, {m.Initialized, &t.InitializedTime}, {m.Images, &t.ImagesTime},
		{m.Started, &t.StartedTime}, {m.Ready, &t.ReadyTime}} {
		if *point.told == nil && !point.at.IsZero() {
			*point.told = new(metav1.NewMicroTime(point.at.Truncate(time.Microsecond)))
		}
	}
}

// SaysNothingNew tells whether a status differs from the one that stands at most by points of the start: they are told with what else there is to
// tell, and are worth no write of their own.
func SaysNothingNew(before, now *miniv1.MiniPodStatus) bool {
	same := *now
	same.StartTimeline = before.StartTimeline
	return equality.Semantic.DeepEqual(before, &same)
}

// Phases are how long the parts of a start took, by their names, as far as the timeline tells of them. Between two machines the difference of their
// clocks is in it; nothing takes less than no time.
func Phases(t *miniv1.StartTimeline) iter.Seq2[string, time.Duration] {
	ground := lastOf(t.SandboxTime, t.InitializedTime)
	return func(yield func(string, time.Duration) bool) {
		for _, part := range []struct {
			name     string
			from, to *metav1.MicroTime
		}{
			{"schedule", t.QueuedTime, t.ScheduledTime}, {"bind", t.ScheduledTime, t.ObservedTime}, {"sandbox", t.ObservedTime, t.SandboxTime},
			{"init", t.SandboxTime, t.InitializedTime}, {"images", lastOf(t.ObservedTime, t.InitializedTime), t.ImagesTime},
			{"start", lastOf(ground, t.ImagesTime), t.StartedTime}, {"ready", t.StartedTime, t.ReadyTime},
		} {
			if part.from != nil && part.to != nil && !yield(part.name, max(0, part.to.Sub(part.from.Time))) {
				return
			}
		}
	}
}

// lastOf is the last of the points that were reached; nil if none was.
func lastOf(points ...*metav1.MicroTime) *metav1.MicroTime {
	points = slices.DeleteFunc(slices.Clone(points), func(p *metav1.MicroTime) bool { return p == nil })
	if len(points) == 0 {
		return nil
	}
	return slices.MaxFunc(points, func(a, b *metav1.MicroTime) int { return a.Compare(b.Time) })
}

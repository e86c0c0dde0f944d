package podplan

import (
	"slices"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/probe"
)

const (
	// readyAgainBase and readyAgainMax are how long a container has to have been ready for it to be told so, after it was lost twice
	// and more often; each time twice as long. That it is lost is told at once.
	readyAgainBase = time.Second
	readyAgainMax  = 30 * time.Second
	// readyCalm is after how long without a change it all counts as forgotten.
	readyCalm = 5 * time.Minute
)

// Health is what is known of a container that is probed.
type Health struct {
	probe.Facts
	// readyFrom is when it may be told that it is ready; lost counts how often it was not any more, and changed is when it last became
	// the one or the other.
	readyFrom, changed time.Time
	lost               int
}

// Judge takes in what probes found out. What is true is known at once; what is told of a container that comes and goes is damped.
func (h *Health) Judge(facts probe.Facts, now time.Time) {
	if facts.Ready != h.Ready {
		if now.Sub(h.changed) >= readyCalm {
			h.lost = 0
		}
		h.changed = now
		if facts.Ready {
			h.readyFrom = now.Add(Doubled(readyAgainBase, readyAgainMax, h.lost-1))
		} else {
			h.lost++
		}
	}
	h.Facts = facts
}

// ready tells whether it is to be told that the container is ready.
func (h *Health) ready(now time.Time) bool { return h.Ready && !now.Before(h.readyFrom) }

// Heed begins to keep account of the containers that run and are to be probed, once their postStart has ended well. One that ran already
// when the agent came is what was published of it, until a probe finds something else.
func (o *Observation) Heed(pod *miniv1.MiniPod) {
	for kind, spec := range pod.Spec.AllContainers() {
		if !kind.Lasts() || !spec.HasProbes() && spec.Lifecycle == nil {
			continue
		}
		for _, c := range o.Containers {
			if c.Name != spec.Name || c.State != StateRunning {
				continue
			}
			o.recallPostStart(pod, spec, c)
			if _, known := o.Health[c.ID]; !known && spec.HasProbes() && o.posted(spec, c) {
				o.SetHealth(c.ID, Health{Facts: probe.Begin(spec, published(pod, spec.Name, c.ID))})
			}
		}
	}
}

// SetHealth replaces what is known of a container.
func (o *Observation) SetHealth(id string, h Health) {
	if o.Health == nil {
		o.Health = map[string]Health{}
	}
	o.Health[id] = h
}

// published is what the status says of a container; nothing if it speaks of another one.
func published(pod *miniv1.MiniPod, name, id string) probe.Facts {
	if !publishedRunning(pod, name, id) {
		return probe.Facts{}
	}
	status := statusByName(&pod.Status, name)
	return probe.Facts{Started: status.Started != nil && *status.Started, Ready: status.Ready}
}

// publishedRunning tells whether the status says that this very container runs.
func publishedRunning(pod *miniv1.MiniPod, name, id string) bool {
	status := statusByName(&pod.Status, name)
	return status.State.Running != nil && shortID(status.ContainerID) == id
}

// Probed are the containers that are to be asked how they are, by their IDs. Whoever is on its way to its end is not asked any more.
func (o *Observation) Probed(pod *miniv1.MiniPod) []Container {
	if len(o.Health) == 0 || pod == nil || podstate.IsDeleting(pod) || podstate.IsFinished(pod) {
		return nil
	}
	var out []Container
	for _, c := range o.Containers {
		if _, heeded := o.Health[c.ID]; heeded && c.State == StateRunning {
			out = append(out, c)
		}
	}
	return out
}

// started tells whether a container that runs has started.
func (o *Observation) started(spec *miniv1.Container, c Container) bool {
	return o.posted(spec, c) && (spec.StartupProbe == nil || o.Health[c.ID].Started)
}

// ready tells whether it is to be told that a container that runs can serve.
func (o *Observation) ready(spec *miniv1.Container, c Container, now time.Time) bool {
	h := o.Health[c.ID]
	return o.started(spec, c) && (spec.ReadinessProbe == nil || h.ready(now))
}

// FactsOf are what is known of a container: by its probes, and by why an earlier agent began to end it.
func (o *Observation) FactsOf(c Container) probe.Facts {
	facts := o.Health[c.ID].Facts
	if facts.Failed == "" {
		facts.Failed = o.Signals[c.ID].Failed
	}
	return facts
}

// unhealthy tells whether a container is, or was, to be ended because of a probe, or because its postStart failed.
func (o *Observation) unhealthy(c Container) bool {
	return o.FactsOf(c).Failed != "" || o.postStart(c.ID).Failed
}

// endUnhealthy ends containers that failed a probe, or their postStart. Nobody waits for that.
func (p *planner) endUnhealthy() {
	for _, x := range p.row {
		for _, c := range p.observed.Containers {
			if c.Name != x.spec.Name || c.State != StateRunning || !p.observed.unhealthy(c) {
				continue
			}
			if wait := teardownBackoff(p.observed, p.now); wait != nil {
				p.add(wait...)
				continue
			}
			period := probeGrace(p.desired, x.spec, p.observed.FactsOf(c).Failed)
			p.terminate(c, period, p.observed.ownDeadline(c.ID, period))
		}
	}
}

// probeGrace is the time between the stop signal and SIGKILL of a container that failed a probe; the MiniPod's for
// one that failed otherwise.
func probeGrace(pod *miniv1.MiniPod, spec *miniv1.Container, failed miniv1.ProbeKind) time.Duration {
	for kind, p := range spec.Probes() {
		if kind == failed && p.TerminationGracePeriodSeconds != nil {
			return time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
		}
	}
	return grace(pod)
}

// tellLater plans again when it may be told that a container is ready.
func (p *planner) tellLater() {
	for _, c := range p.observed.Containers {
		if h := p.observed.Health[c.ID]; h.Ready && c.State == StateRunning {
			p.waitUntil(h.readyFrom)
		}
	}
}

// awaitsReady tells whether a container that runs has to show yet that it can serve.
func (o *Observation) awaitsReady(pod *miniv1.MiniPod) bool {
	return len(o.Health) > 0 && slices.ContainsFunc(o.Probed(pod), func(c Container) bool { return !o.Health[c.ID].Ready })
}

package podworker

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/prober"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// watch is a container that is probed at an address.
type watch struct {
	*prober.Watch
	address string
}

// probe begins to probe the containers that are to be, and ends the others' probes. A MiniPod without probes has no watches.
func (w *worker) probe(desired *miniv1.MiniPod) {
	if desired != nil {
		w.observed.Heed(desired)
	}
	var probed []podplan.Container
	if w.observed.Address.IsValid() { // else there is nobody to ask, which is not the containers' fault
		probed = w.observed.Probed(desired)
	}
	if len(probed) == 0 && len(w.watches) == 0 {
		return
	}
	address, kept := w.observed.Address.String(), make(map[string]watch, len(probed))
	for _, c := range probed {
		there, watched := w.watches[c.ID]
		if watched && there.address == address {
			kept[c.ID] = there
			delete(w.watches, c.ID)
			continue
		}
		spec, _ := forProbes(podplan.ContainerNamed(desired, c.Name)) // of what was made, they fit
		target := prober.Target{ID: c.ID, Namespace: desired.Namespace, Spec: spec, Address: address, Started: c.StartedAt,
			Was: w.observed.FactsOf(c)}
		kept[c.ID] = watch{w.pool.prober.Watch(target, func(r prober.Report) {
			w.tell(func(in *inbox) { in.ended = append(in.ended, func(*view) { w.judge(c, r) }) })
		}), address}
	}
	w.endProbes()
	w.watches = kept
}

// endProbes ends those that there are.
func (w *worker) endProbes() {
	for _, there := range w.watches {
		there.Stop()
	}
	w.watches = nil
}

// judge takes in what a probe found out, and tells people of it.
func (w *worker) judge(c podplan.Container, r prober.Report) {
	h, known := w.observed.Health[c.ID]
	if !known || w.observed.IndexOf(c.ID) < 0 {
		return // it is gone
	}
	before := h.Failed
	h.Judge(r.Facts, w.pool.Clock.Now())
	w.observed.SetHealth(c.ID, h)
	pod := w.latest()
	if pod == nil || w.pool.Recorder == nil {
		return
	}
	event := func(kind, reason, action, note string) {
		w.pool.Recorder.Eventf(pod, nil, kind, reason, action, "%s", conditions.Note(note))
	}
	if r.Words != "" {
		event(corev1.EventTypeWarning, miniv1.ReasonUnhealthy, actionProbe, "container "+c.Name+": "+r.Words)
	}
	if h.Failed != before {
		event(corev1.EventTypeNormal, miniv1.ReasonKilling, actionEnd, fmt.Sprintf("container %s failed its %s probe and is ended", c.Name, h.Failed))
	}
}

// exec runs a command in a container.
func (p *Pool) exec(ctx context.Context, id string, command runtime.Command) (runtime.Executed, error) {
	return p.Runtime.Exec(ctx, id, command)
}

// takeTurn runs a command of a probe when there is a place for it.
func (p *Pool) takeTurn(ctx context.Context, namespace string, do func()) {
	p.execs.turn(ctx, namespace, do)
}

// forProbes is a container's spec with references to its variables replaced in commands of probes: those that have a value in the spec,
// as in a native Pod. Where they become too long for a program, it is the container as it is, and an error.
func forProbes(c *miniv1.Container) (*miniv1.Container, error) {
	out := c
	var values map[string]string
	for kind, p := range c.Probes() {
		if p.Exec == nil || !strings.Contains(strings.Join(p.Exec.Command, ""), "$") {
			continue
		}
		if out == c {
			var err error
			if values, err = written(c); err != nil {
				return c, err
			}
			out = c.DeepCopy()
		}
		for k, copied := range out.Probes() {
			if k != kind {
				continue
			}
			command, err := expandAll(p.Exec.Command, values)
			if err != nil {
				return c, fmt.Errorf("%s: command: %w", kind, err)
			}
			copied.Exec.Command = command
		}
	}
	return out, nil
}

// written are the values of the variables that have one in the spec.
func written(c *miniv1.Container) (map[string]string, error) {
	out := &variables{values: make(map[string]string, len(c.Env))}
	for i := range c.Env {
		if v := &c.Env[i]; v.ValueFrom == nil {
			if err := out.set(v.Name, expand(v.Value, out.values)); err != nil {
				return nil, err
			}
		}
	}
	return out.values, nil
}

package podplan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
)

const (
	startup, readiness, liveness = miniv1.ProbeStartup, miniv1.ProbeReadiness, miniv1.ProbeLiveness
)

// probes gives a container of the spec, by its name, these probes.
func probes(name string, kinds ...miniv1.ProbeKind) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		c := ContainerNamed(p, name)
		for _, kind := range kinds {
			switch kind {
			case startup:
				c.StartupProbe = &miniv1.Probe{}
			case readiness:
				c.ReadinessProbe = &miniv1.Probe{}
			case liveness:
				c.LivenessProbe = &miniv1.Probe{}
			}
		}
	}
}

func health(id string, facts probe.Facts) func(*Observation) {
	return func(o *Observation) {
		h := o.Health[id]
		h.Judge(facts, t0)
		o.SetHealth(id, h)
	}
}

func TestPlanUnhealthy(t *testing.T) {
	pod := testPod("a", "b").With(probes("a", liveness)).With(probes("b", startup)).Obj()
	seconds := int64(5)
	pod.Spec.Containers[0].LivenessProbe.TerminationGracePeriodSeconds = &seconds
	failed := func(more ...func(*Observation)) Observation {
		o := seen(container("a", 0, 0, runs), container("b", 0, 0, runs))
		health("a-0", probe.Facts{Started: true, Ready: true, Failed: liveness})(&o)
		for _, change := range more {
			change(&o)
		}
		return o
	}
	sent := func(s Sent) func(*Observation) { return func(o *Observation) { o.Signals["a-0"] = s } }
	checkPlans(t, []planCase{
		{name: "is asked to end", pod: pod, seen: failed(), want: []Action{{Type: KillContainer, ID: "a-0", Signal: StopSignal}}},
		{name: "has the probe's grace period", pod: pod, seen: failed(sent(Sent{Term: t0})), now: at(4), want: []Action{{Type: Wait, Until: at(5)}}},
		{name: "is made to", pod: pod, seen: failed(sent(Sent{Term: t0})), now: at(5), want: []Action{{Type: KillContainer, ID: "a-0", Signal: SIGKILL}}},
		{name: "has the MiniPod's where the probe has none", pod: pod,
			seen: with(seen(container("a", 0, 0, runs), container("b", 0, 0, runs)), func(o *Observation) {
				health("b-0", probe.Facts{Failed: startup})(o)
				o.Signals["b-0"] = Sent{Term: t0}
			}), now: at(29), want: []Action{{Type: Wait, Until: at(30)}}},
		{name: "others are started meanwhile", pod: pod,
			seen: with(failed(sent(Sent{Term: t0})), func(o *Observation) {
				o.Containers[1] = container("b", 0, 0)
			}), now: at(1), want: []Action{{Type: Wait, Until: at(5)}, {Type: StartContainer, Container: "b", ID: "b-0"}}},
		{name: "a new agent goes on", pod: pod, seen: with(seen(container("a", 0, 0, runs), container("b", 0, 0, runs)), sent(Sent{Term: t0, Failed: liveness})),
			now: at(5), want: []Action{{Type: KillContainer, ID: "a-0", Signal: SIGKILL}}},
		{name: "a signal that failed is sent again later", pod: pod, seen: failed(func(o *Observation) {
			o.Failures[teardownTask] = Failure{Reason: "x", At: t0, Count: 1}
		}), want: []Action{{Type: Wait, Until: at(1)}}},
	})
}

// What was ended because of a probe is started again, with a back-off like any crash, however it ended; with policy Never it is not.
func TestPlanAfterUnhealthy(t *testing.T) {
	ended := func(crashes int, change ...func(*Observation)) Observation {
		o := seen(container("main", 0, crashes, exited(0, 0, 60)))
		health("main-0", probe.Facts{Failed: liveness})(&o)
		image(ImagePresent)(&o)
		for _, f := range change {
			f(&o)
		}
		return o
	}
	pod := func(p corev1.RestartPolicy) *miniv1.MiniPod {
		return testPod().With(policy(p)).With(probes("main", liveness)).Obj()
	}
	again := []Action{{Type: CreateContainer, Container: "main", Attempt: 1, Crashes: 1}}
	checkPlans(t, []planCase{
		{name: "OnFailure", pod: pod(corev1.RestartPolicyOnFailure), seen: ended(0), now: at(60), want: again},
		{name: "OnFailure, a new agent", pod: pod(corev1.RestartPolicyOnFailure), now: at(60), want: again,
			seen: ended(0, func(o *Observation) { o.Health = nil; o.Signals["main-0"] = Sent{Term: at(50), Failed: liveness} })},
		{name: "OnFailure, ended well by itself", pod: pod(corev1.RestartPolicyOnFailure), seen: ended(0, func(o *Observation) { o.Health = nil }), now: at(60)},
		{name: "back-off", pod: pod(corev1.RestartPolicyAlways), seen: ended(1), now: at(60), want: []Action{{Type: Wait, Until: at(70)}}},
		{name: "Never", pod: pod(corev1.RestartPolicyNever), seen: ended(0), now: at(60)},
	})
}

// What comes after a sidecar waits until it has started.
func TestSidecarStarts(t *testing.T) {
	pod := testPod("proxy", "main").With(probes("proxy", startup, readiness)).Obj()
	row := kinds{sidecar, mainOne}
	plan := func(facts probe.Facts) []Action {
		o := seen(container("proxy", 0, 0, runs))
		image(ImagePresent)(&o)
		health("proxy-0", facts)(&o)
		return row.plan(pod, o, t0)
	}
	if diff := cmp.Diff([]Action(nil), plan(probe.Facts{})); diff != "" {
		t.Errorf("it runs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Action{{Type: CreateContainer, Container: "main"}}, plan(probe.Facts{Started: true})); diff != "" {
		t.Errorf("it has started (-want +got):\n%s", diff)
	}
	o := seen(container("proxy", 0, 0, runs))
	health("proxy-0", probe.Facts{})(&o)
	status := Status(row.real(pod), &o, Node{RuntimeName: "r"}, t0)
	if status.Phase != miniv1.PodPending || status.Summary != "Init:0/1" || *status.InitContainerStatuses[0].Started {
		t.Errorf("%s, %s, %+v", status.Phase, status.Summary, status.InitContainerStatuses[0])
	}
}

func TestStatusHealth(t *testing.T) {
	for name, c := range map[string]struct {
		kinds          []miniv1.ProbeKind
		facts          *probe.Facts
		started, ready bool
	}{
		"no probes":                     {nil, nil, true, true},
		"not asked yet":                 {[]miniv1.ProbeKind{startup, readiness, liveness}, &probe.Facts{}, false, false},
		"nothing known":                 {[]miniv1.ProbeKind{startup, readiness}, nil, false, false},
		"started":                       {[]miniv1.ProbeKind{startup, readiness}, &probe.Facts{Started: true}, true, false},
		"started, nothing else to show": {[]miniv1.ProbeKind{startup}, &probe.Facts{Started: true, Ready: true}, true, true},
		"ready":                         {[]miniv1.ProbeKind{startup, readiness}, &probe.Facts{Started: true, Ready: true}, true, true},
		"only liveness":                 {[]miniv1.ProbeKind{liveness}, &probe.Facts{Started: true, Ready: true}, true, true},
		"only liveness, nothing known":  {[]miniv1.ProbeKind{liveness}, nil, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := testPod().With(probes("main", c.kinds...)).Obj()
			o := seen(container("main", 0, 0, runs))
			if c.facts != nil {
				health("main-0", *c.facts)(&o)
			}
			status := Status(pod, &o, Node{RuntimeName: "r"}, t0)
			got := status.ContainerStatuses[0]
			if *got.Started != c.started || got.Ready != c.ready || status.Phase != miniv1.PodRunning {
				t.Errorf("started %t, ready %t, %s", *got.Started, got.Ready, status.Phase)
			}
			for _, condition := range status.Conditions {
				if ready := condition.Type == miniv1.ConditionReady || condition.Type == miniv1.ConditionContainersReady; ready && (condition.Status == "True") != c.ready {
					t.Errorf("%+v", condition)
				}
			}
		})
	}
}

// An agent that comes anew says of a container what was said, and nothing of another one.
func TestHeed(t *testing.T) {
	pod := testPod("a", "b", "c").With(probes("a", readiness)).With(probes("b", startup, readiness)).Obj()
	o := seen(container("a", 0, 0, runs), container("b", 0, 0, runs), container("c", 0, 0, runs))
	health("a-0", probe.Facts{Started: true, Ready: true})(&o)
	health("b-0", probe.Facts{Started: true})(&o)
	pod.Status = Status(pod, &o, Node{RuntimeName: "r"}, t0)

	next := seen(container("a", 0, 0, runs), container("b", 1, 1, runs), container("c", 0, 0, runs))
	next.Heed(pod)
	if len(next.Health) != 2 || next.Health["a-0"].Facts != (probe.Facts{Started: true, Ready: true}) || next.Health["b-1"].Facts != (probe.Facts{}) {
		t.Errorf("%+v", next.Health)
	}
	if got := Status(pod, &next, Node{RuntimeName: "r"}, t0).ContainerStatuses; !got[0].Ready || *got[1].Started || got[1].Ready || !got[2].Ready {
		t.Errorf("%+v", got)
	}
	if got := next.Probed(pod); len(got) != 2 {
		t.Errorf("%d are probed", len(got))
	}
	next.Containers[0].State = StateExited
	if got := next.Probed(pod); len(got) != 1 || got[0].ID != "b-1" {
		t.Errorf("probed: %+v", got)
	}
	if got := next.Probed(testPod("a", "b").Deleting(t0).Obj()); got != nil {
		t.Errorf("probed at the end: %+v", got)
	}
	if next.Drop("a-0"); len(next.Health) != 1 {
		t.Error("what is gone is kept account of")
	}
	plain := seen(container("main", 0, 0, runs))
	if plain.Heed(testPod().Obj()); plain.Health != nil || plain.Probed(testPod().Obj()) != nil {
		t.Error("a MiniPod without probes pays")
	}
}

// TestDamped: that a container is lost is told at once. That it is ready again is told later and later, where it comes and goes.
func TestDamped(t *testing.T) {
	pod := testPod().With(probes("main", readiness)).Obj()
	o := seen(container("main", 0, 0, runs))
	ready := func(now time.Time) bool {
		return Status(pod, &o, Node{RuntimeName: "r"}, now).ContainerStatuses[0].Ready
	}
	judge := func(is bool, now time.Time) {
		h := o.Health["main-0"]
		h.Judge(probe.Facts{Started: true, Ready: is}, now)
		o.SetHealth("main-0", h)
	}
	now := t0
	for i, wait := range []time.Duration{0, 0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		judge(true, now)
		if wait > 0 {
			if ready(now.Add(wait - 1)) {
				t.Errorf("%d: ready before %s", i, wait)
			}
			if diff := cmp.Diff([]Action{{Type: Wait, Until: now.Add(wait)}}, Plan(pod, o, now)); diff != "" {
				t.Errorf("%d (-want +got):\n%s", i, diff)
			}
		}
		if now = now.Add(wait); !ready(now) {
			t.Errorf("%d: not ready after %s", i, wait)
		}
		if judge(false, now); ready(now) {
			t.Errorf("%d: ready while it is not", i)
		}
	}
	judge(true, now)
	judge(false, now.Add(readyCalm))
	judge(true, now.Add(readyCalm))
	if !ready(now.Add(readyCalm)) {
		t.Error("after a long calm it is forgotten")
	}
}

// A status that says Running waits a moment for what is about to become ready.
func TestQuietReady(t *testing.T) {
	pod := testPod().With(probes("main", readiness)).Obj()
	pod.Status.Phase = miniv1.PodPending
	o := seen(container("main", 0, 0, runs))
	o.Heed(pod)
	if got := Quiet(pod, &o, nil); got != quietReady {
		t.Errorf("%s", got)
	}
	health("main-0", probe.Facts{Started: true, Ready: true})(&o)
	if got := Quiet(pod, &o, nil); got != 0 {
		t.Errorf("ready: %s", got)
	}
	pod.Status.Phase = miniv1.PodRunning
	health("main-0", probe.Facts{Started: true})(&o)
	if got := Quiet(pod, &o, nil); got != 0 {
		t.Errorf("not ready any more: %s", got)
	}
}

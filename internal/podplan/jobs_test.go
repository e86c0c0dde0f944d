package podplan

import (
	"slices"
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// usesConfigMap gives the container of a MiniPod a variable of a ConfigMap.
func usesConfigMap(p *miniv1.MiniPod) {
	p.Spec.Containers[0].EnvFrom = []miniv1.EnvFromSource{{ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "settings"}}}
}

// What a container's variables come from is read beside all else, once, before it is made; and a MiniPod that uses nothing reads nothing.
func TestEnvironmentIsReadBeside(t *testing.T) {
	plain, pod := testPod().Obj(), testPod().With(usesConfigMap).Obj()
	reads := func(pod *miniv1.MiniPod, o Observation) (reading, creating bool) {
		for _, a := range Plan(pod, o, t0) {
			reading = reading || a.Type == ReadEnvironment
			creating = creating || a.Type == CreateContainer
		}
		return reading, creating
	}
	nothing := NewObservation()
	nothing.Begin(t0)
	if reading, _ := reads(plain, nothing); reading {
		t.Error("a MiniPod that uses nothing has something read")
	}
	if reading, _ := reads(pod, nothing); !reading {
		t.Error("nothing is read beside the making of the ground")
	}
	o := seen()
	o.Images = map[string]Image{"main": {Ref: "echo:test", State: ImagePresent}}
	if _, creating := reads(plain, o); !creating {
		t.Error("a MiniPod that uses nothing waits")
	}
	for _, step := range []struct {
		state             JobState
		reading, creating bool
	}{{"", true, false}, {JobRunning, false, false}, {JobDone, false, true}} {
		o.SetJob(EnvironmentTask("main"), step.state)
		if reading, creating := reads(pod, o); reading != step.reading || creating != step.creating {
			t.Errorf("with the job %q: reads %t, creates %t", step.state, reading, creating)
		}
	}
}

// Nothing is read for a container, or kept, as long as what it waits for has failed or takes long; and it is read when that has come, whatever failed before.
func TestEnvironmentIsNotReadInVain(t *testing.T) {
	pod := testPod().With(usesConfigMap).With(func(p *miniv1.MiniPod) { p.Spec.Volumes = []miniv1.Volume{{Name: "v"}} }).Obj()
	c := &pod.Spec.Containers[0]
	reads := func(o *Observation) bool {
		work, _ := Split(Plan(pod, *o, t0))
		return slices.Contains(work, Action{Type: ReadEnvironment, Container: "main"})
	}
	present := Image{Ref: "echo:test", State: ImagePresent}
	for name, change := range map[string]func(*Observation){
		"its image cannot be had": func(o *Observation) { o.Images["main"] = Image{Ref: "echo:test"}.Failed("no", false, t0) },
		"its image takes long": func(o *Observation) {
			o.Images["main"] = Image{Ref: "echo:test", State: ImagePulling, Progress: PullProgress{For: 4 * time.Second}}
		},
		"no sandbox": func(o *Observation) {
			o.Sandbox = SandboxNone
			o.Failed(pod, Action{Type: EnsureSandbox}, miniv1.ReasonContainerCreating, "no", t0)
		},
		"no volumes": func(o *Observation) {
			o.SetJob(VolumesTask, "")
			o.Failed(pod, Action{Type: MakeVolumes}, miniv1.ReasonContainerCreating, "no", t0)
		},
		"": func(o *Observation) {
			o.Failed(pod, Action{Type: EnsureSandbox}, miniv1.ReasonContainerCreating, "no", t0)
			o.Failed(pod, Action{Type: MakeVolumes}, miniv1.ReasonContainerCreating, "no", t0)
			o.SetJob(VolumesTask, JobStale)
		},
	} {
		o := seen()
		o.Images = map[string]Image{"main": present}
		o.SetJob(VolumesTask, JobDone)
		change(&o)
		if near := name == ""; reads(&o) != near || o.Near(pod, c) != near {
			t.Errorf("%s: it reads: %t, and keeps what was read: %t", name, reads(&o), o.Near(pod, c))
		}
	}
}

// What could not be read is tried again after the usual waits, or at once when it has come.
func TestEnvironmentThatComesLater(t *testing.T) {
	pod := testPod().With(usesConfigMap).Obj()
	o := seen()
	o.Images = map[string]Image{"main": {Ref: "echo:test", State: ImagePresent}}
	read := Action{Type: ReadEnvironment, Container: "main"}
	o.Failed(pod, read, miniv1.ReasonCreateContainerConfig, `configmap "settings" not found`, t0)
	work, until := Split(Plan(pod, o, t0))
	if len(work) > 0 || !until.Equal(t0.Add(backoffBase)) {
		t.Errorf("after a failure: %v until %s", work, until)
	}
	waiting := Status(pod, &o, Node{}, t0).ContainerStatuses[0].State.Waiting
	if waiting == nil || waiting.Reason != miniv1.ReasonCreateContainerConfig || waiting.Message != `configmap "settings" not found` {
		t.Errorf("it shows %+v", waiting)
	}
	o.TryAgain(ContainerTask("main"))
	if work, _ := Split(Plan(pod, o, t0)); len(work) != 1 || work[0].Type != ReadEnvironment {
		t.Errorf("when it has come: %v", work)
	}
}

// Who does not answer is asked less and less often, until somebody answers, if only to refuse.
func TestAskedLessAndLess(t *testing.T) {
	pod, o := testPod().Obj(), seen(container("main", 0, 0))
	start := Action{Type: StartContainer, Container: "main", ID: id("main", 0)}
	image := Image{Ref: "echo:test"}
	for _, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second} {
		o.Failed(pod, start, "", "no answer", t0)
		image = image.Failed("no answer", true, t0)
		if work, until := Split(Plan(pod, o, t0)); len(work) > 0 || until.Sub(t0) != want {
			t.Errorf("the runtime is asked again: %v until %s, want %s", work, until.Sub(t0), want)
		}
		if got := image.retryAt().Sub(t0); got != want {
			t.Errorf("the image is looked for again after %s, want %s", got, want)
		}
	}
	o.Failed(pod, start, miniv1.ReasonCreateContainerError, "no", t0)
	o.Failed(pod, start, "", "no answer", t0)
	if got := o.Failures[start.task()].retryAt(true).Sub(t0); got != UnavailableRetry {
		t.Errorf("after an answer it is asked again after %s", got)
	}
}

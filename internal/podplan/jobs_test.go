package podplan

import (
	"testing"

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

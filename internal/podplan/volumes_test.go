package podplan

import (
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// usesVolume gives a MiniPod a volume.
func usesVolume(p *miniv1.MiniPod) {
	p.Spec.Volumes = []miniv1.Volume{{Name: "settings", ConfigMap: &miniv1.ConfigMapVolumeSource{Name: "settings"}}}
}

// does is which of the interesting actions a plan has.
type does struct{ volumes, ground, creates bool }

func plannedOf(pod *miniv1.MiniPod, o Observation) (out does) {
	for _, a := range Plan(pod, o, t0) {
		out.volumes = out.volumes || a.Type == MakeVolumes
		out.ground = out.ground || a.Type == EnsureSandbox
		out.creates = out.creates || a.Type == CreateContainer
	}
	return out
}

// Volumes are made beside the ground, once, before any container is; and a MiniPod without any makes none.
func TestVolumesAreMadeBeside(t *testing.T) {
	plain, pod := testPod().Obj(), testPod().With(usesVolume).Obj()
	nothing := NewObservation()
	nothing.Begin(t0)
	if got := plannedOf(plain, nothing); got.volumes {
		t.Error("a MiniPod without volumes makes some")
	}
	if got, want := plannedOf(pod, nothing), (does{volumes: true, ground: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	o := seen()
	o.Images = map[string]Image{"main": {Ref: "echo:test", State: ImagePresent}}
	if got := plannedOf(plain, o); !got.creates {
		t.Error("a MiniPod without volumes waits")
	}
	for _, step := range []struct {
		state JobState
		want  does
	}{
		{"", does{volumes: true}}, {JobRunning, does{}}, {JobDone, does{creates: true}}, {JobStale, does{volumes: true, creates: true}}, {JobRenewing, does{creates: true}},
	} {
		o.SetJob(VolumesTask, step.state)
		if got := plannedOf(pod, o); got != step.want {
			t.Errorf("with the job %q: %+v, want %+v", step.state, got, step.want)
		}
	}
}

// What expires in volumes is made anew in time, once, beside what runs.
func TestVolumesThatExpire(t *testing.T) {
	pod := testPod().With(usesVolume).Obj()
	o := seen(container("main", 0, 0, runs))
	o.Images = map[string]Image{"main": {Ref: "echo:test", State: ImagePresent}}
	o.SetJob(VolumesTask, JobDone)
	o.VolumesUntil = at(100)
	if work, until := Split(Plan(pod, o, at(99))); len(work) > 0 || !until.Equal(at(100)) {
		t.Errorf("before: %v until %s", work, until)
	}
	if work, _ := Split(Plan(pod, o, at(100))); len(work) != 1 || work[0].Type != MakeVolumes {
		t.Errorf("then: %v", work)
	}
	if !o.volumesReady() {
		t.Error("a container could not start meanwhile")
	}
	o.SetJob(VolumesTask, JobRenewing)
	if work, _ := Split(Plan(pod, o, at(101))); len(work) > 0 {
		t.Errorf("while it is being done: %v", work)
	}
}

// An agent that comes anew has the volumes of what runs made again, which is to hear of changes; nothing is done to the container for it, whether
// that works or not.
func TestVolumesOfWhatRuns(t *testing.T) {
	pod := testPod().With(usesVolume).Obj()
	o := seen(container("main", 0, 0, runs))
	o.Images = map[string]Image{"main": {Ref: "echo:test", State: ImagePresent}}
	work, _ := Split(Plan(pod, o, t0))
	if len(work) != 1 || work[0].Type != MakeVolumes {
		t.Errorf("an agent that comes anew does %v", work)
	}
	o.Failed(pod, Action{Type: MakeVolumes}, miniv1.ReasonContainerCreating, `volume "settings": configmap "settings" not found`, t0)
	if work, until := Split(Plan(pod, o, t0)); len(work) > 0 || !until.After(t0) {
		t.Errorf("after a failure it does %v, and looks again at %s", work, until)
	}
	if state := Status(pod, &o, Node{}, t0).ContainerStatuses[0].State; state.Running == nil {
		t.Errorf("what runs shows %+v", state)
	}
}

// A volume that cannot be made is tried again after the usual waits, or at once when there is news; every container says why it waits, and an
// Event says it once.
func TestVolumesThatComeLater(t *testing.T) {
	pod := testPod().With(usesVolume).Obj()
	o := seen()
	o.Images = map[string]Image{"main": {Ref: "echo:test", State: ImagePresent}}
	before := Status(pod, &o, Node{}, t0)
	const why = `volume "settings": configmap "settings" not found`
	o.Failed(pod, Action{Type: MakeVolumes}, miniv1.ReasonContainerCreating, why, t0)
	if work, until := Split(Plan(pod, o, t0)); len(work) > 0 || !until.Equal(t0.Add(time.Second)) {
		t.Errorf("after a failure: %v until %s", work, until)
	}
	after := Status(pod, &o, Node{}, t0)
	if waiting := after.ContainerStatuses[0].State.Waiting; waiting == nil || waiting.Reason != miniv1.ReasonContainerCreating || waiting.Message != why {
		t.Errorf("it shows %+v", waiting)
	}
	if told := Troubles(&before, &after); len(told) != 1 || told[0].Reason != miniv1.ReasonFailedMount || told[0].Note != why {
		t.Errorf("told: %+v", told)
	}
	if told := Troubles(&after, &after); len(told) > 0 {
		t.Errorf("told again: %+v", told)
	}
	o.TryAgain(VolumesTask)
	if work, _ := Split(Plan(pod, o, t0)); len(work) != 1 || work[0].Type != MakeVolumes {
		t.Errorf("when it has come: %v", work)
	}
	// That the job began is no success yet.
	o.Succeeded(Action{Type: MakeVolumes})
	if _, failed := o.Failures[VolumesTask]; !failed {
		t.Error("the failure is forgotten when the job begins")
	}
}

// What changes all the time is made anew at once a few times, and then once a second; after a quiet time at once again.
func TestVolumesThatChangeAllTheTime(t *testing.T) {
	pod := testPod().With(usesVolume).Obj()
	o := seen(container("main", 0, 0, runs))
	o.Images = map[string]Image{"main": {Ref: "echo:test", State: ImagePresent}}
	makes := 0
	for tenth := range 200 { // over ten seconds, and after a minute over ten more
		now := t0.Add(time.Duration(tenth) * time.Second / 10)
		if tenth >= 100 {
			now = now.Add(time.Minute)
		}
		o.SetJob(VolumesTask, JobStale)
		work, until := Split(Plan(pod, o, now))
		if len(work) > 0 {
			makes++
			o.BeginVolumes(now)
		} else if !until.After(now) || until.After(now.Add(time.Second)) {
			t.Fatalf("at %s it looks again at %s", now, until)
		}
	}
	if makes < 26 || makes > 30 {
		t.Errorf("made %d times in twice ten seconds", makes)
	}
}

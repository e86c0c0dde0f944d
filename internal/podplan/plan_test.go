package podplan

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

const testUID = "11111111-2222-3333-4444-555555555555"

var (
	t0       = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	testAddr = netip.MustParseAddr("100.64.0.9")
)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

// testPod is bound to node n1 and has containers of these names.
func testPod(names ...string) *builders.PodBuilder {
	return builders.Pod("ns", "web").Node("n1").With(func(p *miniv1.MiniPod) {
		p.UID = testUID
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
		if len(names) > 0 {
			p.Spec.Containers = nil
		}
		for _, name := range names {
			p.Spec.Containers = append(p.Spec.Containers, miniv1.Container{Name: name, Image: "echo:test"})
		}
	})
}

func policy(p corev1.RestartPolicy) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) { pod.Spec.RestartPolicy = p }
}

// seen is an observation with everything up to the files, and these containers.
func seen(containers ...Container) Observation {
	var o Observation
	o.Begin(t0)
	o.Sandbox, o.Address, o.FilesFor, o.Containers = SandboxWhole, testAddr, testAddr, containers
	return o
}

func with(o Observation, change func(*Observation)) Observation { change(&o); return o }

func image(state ImageState) func(*Observation) {
	return func(o *Observation) { o.Images["main"] = Image{Ref: "echo:test", State: state, ID: "sha256:1"} }
}

func failed(key Task, f Failure) func(*Observation) {
	return func(o *Observation) { o.Failures[key] = f }
}

var mainHash = SpecHash(&miniv1.Container{Image: "echo:test"})

// container of the spec's image, attempt and crashes; in state Created.
func container(name string, attempt, crashes int, change ...func(*Container)) Container {
	c := Container{ID: id(name, attempt), Name: name, Attempt: attempt, Crashes: crashes, SpecHash: mainHash,
		State: StateCreated, Image: "echo:test", ImageID: "sha256:1"}
	for _, f := range change {
		f(&c)
	}
	return c
}

func runs(c *Container) { c.State, c.StartedAt = StateRunning, at(0) }

func exited(code, from, to int) func(*Container) {
	return func(c *Container) {
		c.State, c.ExitCode, c.StartedAt, c.FinishedAt = StateExited, code, at(from), at(to)
	}
}

func unknown(c *Container) { c.State = StateUnknown }

func outdated(c *Container) { c.SpecHash = "old" }

func id(name string, attempt int) string { return name + "-" + strconv.Itoa(attempt) }

type planCase struct {
	name string
	pod  *miniv1.MiniPod
	seen Observation
	now  time.Time
	want []Action
}

func checkPlans(t *testing.T, cases []planCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.now.IsZero() {
				c.now = t0
			}
			if diff := cmp.Diff(c.want, Plan(c.pod, c.seen, c.now)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanStart(t *testing.T) {
	invalid := testPod().With(func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "Not Valid" }).Obj()
	create := Action{Type: CreateContainer, Container: "main"}
	checkPlans(t, []planCase{
		{name: "nothing there: sandbox, and the image meanwhile", pod: testPod("a", "b").Obj(), seen: NewObservation(),
			want: []Action{{Type: EnsureSandbox}, {Type: LookupImage, Container: "a"}, {Type: LookupImage, Container: "b"}}},
		{name: "half a sandbox is made whole", pod: testPod().Obj(),
			seen: with(seen(), func(o *Observation) { o.Sandbox = SandboxHalf; image(ImagePresent)(o) }),
			want: []Action{{Type: EnsureSandbox}}},
		{name: "then the network", pod: testPod().Obj(),
			seen: with(seen(), func(o *Observation) { o.Address = netip.Addr{}; image(ImagePresent)(o) }), want: []Action{{Type: AttachNetwork}}},
		{name: "then the files", pod: testPod().Obj(),
			seen: with(seen(), func(o *Observation) { o.FilesFor = netip.Addr{}; image(ImagePresent)(o) }), want: []Action{{Type: WriteFiles}}},
		{name: "then create", pod: testPod().Obj(), seen: with(seen(), image(ImagePresent)), want: []Action{create}},
		{name: "one image is there, the other not", pod: testPod("main", "b").Obj(), seen: with(seen(), image(ImagePresent)),
			want: []Action{create, {Type: LookupImage, Container: "b"}}},
		{name: "then start", pod: testPod().Obj(), seen: seen(container("main", 0, 0)),
			want: []Action{{Type: StartContainer, Container: "main", ID: id("main", 0)}}},
		{name: "then nothing", pod: testPod().Obj(), seen: seen(container("main", 0, 0, runs))},
		{name: "an image name that is none is not looked for", pod: invalid, seen: seen()},
		{name: "shared failure waits", pod: testPod().Obj(), now: at(1),
			seen: with(seen(), func(o *Observation) {
				o.Sandbox = SandboxNone
				failed(groundTask, Failure{Reason: "x", At: at(0), Count: 3})(o)
				image(ImagePulling)(o)
			}), want: []Action{{Type: Wait, Until: at(4)}}},
		{name: "created in a sandbox that is lost", pod: testPod().Obj(),
			seen: with(seen(container("main", 0, 0)), func(o *Observation) { o.Sandbox = SandboxNone }),
			want: []Action{{Type: RemoveContainer, ID: id("main", 0)}}},
		{name: "running in a sandbox that is lost", pod: testPod().Obj(),
			seen: with(seen(container("main", 0, 0, runs)), func(o *Observation) { o.Sandbox = SandboxNone }),
			want: []Action{{Type: KillContainer, ID: id("main", 0), Signal: SIGKILL}}},
		{name: "killed already", pod: testPod().Obj(), now: at(1),
			seen: with(seen(container("main", 0, 0, runs)), func(o *Observation) {
				o.Sandbox = SandboxNone
				o.Signals[id("main", 0)] = Sent{Kill: at(0)}
			}), want: []Action{{Type: Wait, Until: at(5)}}},
		{name: "a dead pause is replaced", pod: testPod().Obj(),
			seen: with(seen(container("main", 0, 0, runs)), func(o *Observation) { o.Sandbox = SandboxHalf }),
			want: []Action{{Type: EnsureSandbox}}},
		{name: "ended for good needs no sandbox", pod: testPod().With(policy(corev1.RestartPolicyNever)).Obj(),
			seen: with(seen(container("main", 0, 0, exited(0, 0, 1))), func(o *Observation) { o.Sandbox = SandboxNone })},
	})
}

func TestPlanImage(t *testing.T) {
	lookup, pull := Action{Type: LookupImage, Container: "main"}, Action{Type: PullImage, Container: "main"}
	pod := func(image string, policy corev1.PullPolicy) *miniv1.MiniPod {
		return testPod().With(func(p *miniv1.MiniPod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image, policy
		}).Obj()
	}
	look := func(image Image) Observation { return with(seen(), func(o *Observation) { o.Images["main"] = image }) }
	backoff := Image{Ref: "x:1", State: ImageFailed, Failures: 2, FailedAt: at(0)}
	checkPlans(t, []planCase{
		{name: "tagged: look first", pod: pod("x:1", ""), seen: seen(), want: []Action{lookup}},
		{name: "digested: look first", seen: seen(), want: []Action{lookup},
			pod: pod("x@sha256:0123456789012345678901234567890123456789012345678901234567890123", "")},
		{name: "latest: pull", pod: pod("x:latest", ""), seen: seen(), want: []Action{pull}},
		{name: "untagged: pull", pod: pod("x", ""), seen: seen(), want: []Action{pull}},
		{name: "latest, but IfNotPresent: look", pod: pod("x", corev1.PullIfNotPresent), seen: seen(), want: []Action{lookup}},
		{name: "always", pod: pod("x:1", corev1.PullAlways), seen: seen(), want: []Action{pull}},
		{name: "never", pod: pod("x:1", corev1.PullNever), seen: seen(), want: []Action{lookup}},
		{name: "not there: pull", pod: pod("x:1", ""), seen: look(Image{Ref: "x:1", State: ImageMissing}), want: []Action{pull}},
		{name: "there, but not for everybody", pod: pod("x:1", ""), seen: look(Image{Ref: "x:1", State: ImageGuarded}), want: []Action{pull}},
		{name: "there, but not for everybody, never", pod: pod("x:1", corev1.PullNever), seen: look(Image{Ref: "x:1", State: ImageGuarded}),
			want: []Action{pull}},
		{name: "there, for this one", pod: pod("x:1", corev1.PullNever), seen: look(Image{Ref: "x:1", State: ImagePresent}),
			want: []Action{{Type: CreateContainer, Container: "main"}}},
		{name: "what is known of another image does not count", pod: pod("x:2", ""), seen: look(Image{Ref: "x:1", State: ImagePresent}),
			want: []Action{lookup}},
		{name: "pulling", pod: pod("x:1", ""), seen: look(Image{Ref: "x:1", State: ImagePulling})},
		{name: "back-off", pod: pod("x:1", ""), seen: look(backoff), now: at(1),
			want: []Action{{Type: Wait, Until: at(20)}, {Type: Wait, Until: at(5)}}},
		{name: "back-off is over: perhaps somebody brought it", pod: pod("x:1", ""), seen: look(backoff), now: at(20), want: []Action{lookup}},
		{name: "back-off is over, always", pod: pod("x:1", corev1.PullAlways), seen: look(backoff), now: at(20), want: []Action{pull}},
		{name: "the runtime did not answer", pod: pod("x:1", ""), seen: look(Image{Ref: "x:1", State: ImageFailed, FailedAt: at(0)}),
			now: at(1), want: []Action{lookup}},
	})
}

func TestPlanRestart(t *testing.T) {
	create := func(attempt, crashes int) []Action {
		return []Action{{Type: CreateContainer, Container: "main", Attempt: attempt, Crashes: crashes}}
	}
	wait := func(seconds int) []Action { return []Action{{Type: Wait, Until: at(seconds)}} }
	ready := func(containers ...Container) Observation {
		return with(seen(containers...), image(ImagePresent))
	}
	never, onFailure := policy(corev1.RestartPolicyNever), policy(corev1.RestartPolicyOnFailure)
	changed := func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "echo:2" }
	startFailed := Failure{Reason: miniv1.ReasonRunContainerError, At: at(0), Count: 1, Starts: 1, SpecHash: mainHash}
	startFailedTwice := Failure{Reason: miniv1.ReasonRunContainerError, At: at(0), Count: 2, Starts: 2, SpecHash: mainHash}
	checkPlans(t, []planCase{
		{name: "first crash: at once", pod: testPod().Obj(), seen: ready(container("main", 0, 0, exited(1, 0, 1))), now: at(1), want: create(1, 1)},
		{name: "success is restarted too", pod: testPod().Obj(), seen: ready(container("main", 0, 0, exited(0, 0, 1))), now: at(1), want: create(1, 1)},
		{name: "second crash: 10 s", pod: testPod().Obj(), seen: ready(container("main", 1, 1, exited(1, 0, 1))), now: at(2), want: wait(11)},
		{name: "third crash: 20 s", pod: testPod().Obj(), seen: ready(container("main", 2, 2, exited(1, 0, 1))), now: at(2), want: wait(21)},
		{name: "then on", pod: testPod().Obj(), seen: ready(container("main", 2, 2, exited(1, 0, 1))), now: at(21), want: create(3, 3)},
		{name: "never more than 300 s", pod: testPod().Obj(), seen: ready(container("main", 60, 60, exited(1, 0, 1))), now: at(2), want: wait(301)},
		{name: "ten good minutes: forgotten", pod: testPod().Obj(), seen: ready(container("main", 9, 9, exited(1, 0, 600))), now: at(600), want: create(10, 1)},
		{name: "after a reboot: at once", pod: testPod().Obj(), seen: ready(container("main", 3, 3, unknown)), want: create(4, 3)},
		{name: "never", pod: testPod().With(never).Obj(), seen: ready(container("main", 0, 0, exited(1, 0, 1)))},
		{name: "on failure, success", pod: testPod().With(onFailure).Obj(), seen: ready(container("main", 0, 0, exited(0, 0, 1)))},
		{name: "on failure, failure", pod: testPod().With(onFailure).Obj(), seen: ready(container("main", 0, 0, exited(3, 0, 1))), now: at(1), want: create(1, 1)},
		{name: "on failure, unknown", pod: testPod().With(onFailure).Obj(), seen: ready(container("main", 0, 0, unknown)), want: create(1, 0)},
		{name: "one crashed, the other runs", pod: testPod("main", "b").Obj(), now: at(2),
			seen: ready(container("main", 1, 1, exited(1, 0, 1)), container("b", 0, 0, runs)), want: wait(11)},
		{name: "changed image: end the running one", pod: testPod().Obj(), seen: ready(container("main", 0, 0, runs, outdated)),
			want: []Action{{Type: KillContainer, ID: id("main", 0), Signal: StopSignal}}},
		{name: "changed image: wait for it", pod: testPod().Obj(), now: at(3),
			seen: with(seen(container("main", 0, 0, runs, outdated)), func(o *Observation) { o.Signals[id("main", 0)] = Sent{Term: at(2)} }),
			want: wait(32)},
		{name: "changed image: make it", pod: testPod().Obj(), now: at(32),
			seen: with(seen(container("main", 0, 0, runs, outdated)), func(o *Observation) { o.Signals[id("main", 0)] = Sent{Term: at(2)} }),
			want: []Action{{Type: KillContainer, ID: id("main", 0), Signal: SIGKILL}}},
		{name: "changed image: remove a created one", pod: testPod().Obj(), seen: ready(container("main", 0, 0, outdated)),
			want: []Action{{Type: RemoveContainer, ID: id("main", 0)}}},
		{name: "changed image: start anew without back-off, whatever the policy", pod: testPod().With(never).Obj(), now: at(1),
			seen: ready(container("main", 5, 5, exited(137, 0, 1), outdated)), want: create(6, 0)},
		{name: "changed image: removing fails", pod: testPod().Obj(), now: at(1),
			seen: with(ready(container("main", 0, 0, outdated)), failed(teardownTask, Failure{Reason: "x", At: at(0), Count: 2})), want: wait(2)},
		{name: "start failed: again, at once", pod: testPod().Obj(), seen: with(ready(), failed(taskOf("main"), startFailed)), now: at(0), want: create(1, 0)},
		{name: "start failed again: wait", pod: testPod().Obj(), seen: with(ready(), failed(taskOf("main"), startFailedTwice)), now: at(1), want: wait(10)},
		{name: "start failed again: once more", pod: testPod().Obj(), seen: with(ready(), failed(taskOf("main"), startFailedTwice)), now: at(10), want: create(2, 0)},
		{name: "start failed after a crash", pod: testPod().Obj(), seen: with(ready(container("main", 3, 0, exited(1, -1, 0))), failed(taskOf("main"), startFailed)), now: at(0), want: create(5, 1)},
		{name: "start failed, never", pod: testPod().With(never).Obj(), seen: with(ready(), failed(taskOf("main"), startFailed)), now: at(10)},
		{name: "start failed, but with another image", pod: testPod().With(changed).Obj(), now: at(1),
			seen: with(seen(), failed(taskOf("main"), startFailed)), want: []Action{{Type: LookupImage, Container: "main"}}},
		{name: "the runtime did not answer", pod: testPod().Obj(), now: at(0), seen: with(ready(), failed(taskOf("main"), Failure{At: at(0), SpecHash: mainHash, Unanswered: 1})),
			want: []Action{{Type: Wait, Until: at(0).Add(UnavailableRetry)}}},
		{name: "the runtime still does not answer", pod: testPod().Obj(), now: at(0), seen: with(ready(), failed(taskOf("main"), Failure{At: at(0), SpecHash: mainHash, Unanswered: 3})),
			want: wait(2)},
		{name: "keep the last ended one, prune the rest", pod: testPod().Obj(),
			seen: ready(container("main", 3, 3, runs), container("main", 1, 1, exited(1, 0, 1)), container("main", 2, 2, exited(1, 0, 1))),
			want: []Action{{Type: PruneContainer, ID: id("main", 1)}}},
	})
}

func TestPlanEnd(t *testing.T) {
	remove := func(ids ...string) (out []Action) {
		for _, id := range ids {
			out = append(out, Action{Type: RemoveContainer, ID: id})
		}
		return out
	}
	term := []Action{{Type: KillContainer, ID: id("main", 0), Signal: StopSignal}}
	running := container("main", 0, 0, runs)
	deleting := func(grace int64) *miniv1.MiniPod {
		return testPod().Deleting(at(100)).With(func(p *miniv1.MiniPod) { p.Spec.TerminationGracePeriodSeconds = &grace }).Obj()
	}
	asked := func(sent int) Observation {
		return with(seen(running), func(o *Observation) { o.Signals[running.ID] = Sent{Term: at(sent)} })
	}
	unsure := func(first int) Observation {
		return with(seen(running), func(o *Observation) { o.Signals[running.ID] = Sent{Term: at(first), Unsure: true} })
	}
	shoot := []Action{{Type: KillContainer, ID: running.ID, Signal: SIGKILL}}
	shot := func(sent int) Observation {
		return with(seen(running), func(o *Observation) { o.Signals[running.ID] = Sent{Term: at(sent), Kill: at(sent)} })
	}
	bare := func(gone Gone) Observation { return with(seen(), func(o *Observation) { o.Gone = gone }) }
	done := testPod().Phase(miniv1.PodSucceeded).Obj()
	broken := with(seen(running), failed(teardownTask, Failure{Reason: "x", At: at(100), Count: 1}))
	checkPlans(t, []planCase{
		{name: "gone: remove at once", pod: nil, seen: seen(running), want: remove(running.ID)},
		{name: "gone, removing fails", pod: nil, seen: broken, now: at(100), want: []Action{{Type: Wait, Until: at(101)}}},
		{name: "gone, nothing left", pod: nil, seen: NewObservation()},
		{name: "deleted: ask", pod: deleting(30), seen: seen(running), now: at(100), want: term},
		{name: "default grace", pod: testPod().Deleting(at(100)).Obj(), seen: asked(100), now: at(101), want: []Action{{Type: Wait, Until: at(130)}}},
		{name: "deleted: wait", pod: deleting(30), seen: asked(100), now: at(101), want: []Action{{Type: Wait, Until: at(130)}}},
		{name: "grace shortened meanwhile", pod: deleting(3), seen: asked(100), now: at(101), want: []Action{{Type: Wait, Until: at(103)}}},
		{name: "deadline", pod: deleting(30), seen: asked(100), now: at(130), want: shoot},
		{name: "deadline, killed: do not wait", pod: deleting(30), seen: shot(100), now: at(130), want: remove(running.ID)},
		{name: "no grace", pod: deleting(0), seen: seen(running), now: at(100), want: shoot},
		{name: "no grace, killing fails", pod: deleting(0), seen: broken, now: at(101), want: remove(running.ID)},
		{name: "no grace, killed", pod: deleting(0), seen: shot(0), now: at(100), want: remove(running.ID)},
		{name: "agent was away: still ask", pod: deleting(30), seen: seen(running), now: at(900), want: term},
		{name: "agent was away: all of it", pod: deleting(30), seen: asked(900), now: at(900), want: []Action{{Type: Wait, Until: at(930)}}},
		{name: "the API server's clock is behind", pod: deleting(30), seen: asked(700), now: at(701), want: []Action{{Type: Wait, Until: at(730)}}},
		{name: "the API server's clock is ahead", pod: deleting(30), seen: asked(-500), now: at(-470), want: shoot},
		{name: "whether it was asked is not known: ask again", pod: deleting(30), seen: unsure(100), now: at(110), want: term},
		{name: "whether it was asked is not known: it gets no longer", pod: deleting(30), seen: unsure(100), now: at(130), want: shoot},
		{name: "ended", pod: deleting(30), seen: seen(container("main", 0, 0, exited(0, 0, 1)), container("main", 1, 1)), now: at(101),
			want: remove(id("main", 0), id("main", 1))},
		{name: "network, volumes and files", pod: deleting(30), seen: bare(Gone{}), want: []Action{{Type: DetachNetwork}, {Type: RemoveVolumes}, {Type: RemoveFiles}}},
		{name: "sandbox", pod: deleting(30), seen: bare(Gone{Network: true, Files: true, Volumes: true}), want: []Action{{Type: RemoveSandbox}}},
		{name: "finalizer", pod: deleting(30), seen: NewObservation(), want: []Action{{Type: RemoveFinalizer}}},
		{name: "finalizer is gone", pod: testPod().Deleting(t0).With(func(p *miniv1.MiniPod) { p.Finalizers = []string{"other"} }).Obj(), seen: NewObservation()},
		{name: "finished: containers go", pod: done, seen: seen(container("main", 0, 0, exited(0, 0, 1))), want: remove(id("main", 0))},
		{name: "finished: network and volumes go, files stay", pod: done, seen: bare(Gone{}), want: []Action{{Type: DetachNetwork}, {Type: RemoveVolumes}}},
		{name: "finished: sandbox goes", pod: done, seen: bare(Gone{Network: true, Volumes: true}), want: []Action{{Type: RemoveSandbox}}},
		{name: "finished: all done", pod: done, seen: NewObservation()},
		{name: "finished, yet one runs: ask", pod: done, seen: seen(running), want: term},
		{name: "finished, yet one runs: wait", pod: done, seen: asked(10), now: at(11), want: []Action{{Type: Wait, Until: at(40)}}},
		{name: "finished, yet one runs: kill", pod: done, seen: asked(10), now: at(40), want: shoot},
		{name: "finished, removing fails", pod: done, seen: broken, now: at(100), want: []Action{{Type: Wait, Until: at(101)}}},
	})
}

func TestSplit(t *testing.T) {
	work, until := Split([]Action{{Type: Wait, Until: at(9)}, {Type: LookupImage}, {Type: Wait, Until: at(3)}, {Type: Wait, Until: at(5)}})
	if diff := cmp.Diff([]Action{{Type: LookupImage}}, work); diff != "" || !until.Equal(at(3)) {
		t.Errorf("work (-want +got):\n%s until %v", diff, until)
	}
}

package podworker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// diary is what happened on the node, in its order, whoever was the agent.
type diary struct {
	mu    sync.Mutex
	lines []string
	// fails are commands that fail, as "main-0 start".
	fails map[string]bool
}

// fail has a command fail from now on.
func (d *diary) fail(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails[line] = true
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) exec(_ context.Context, spec runtime.ContainerSpec, args []string) (int, string) {
	line := spec.ID[uidLength+1:] + " " + args[0]
	if !strings.HasPrefix(args[0], "probe") {
		d.note(line)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails[line] {
		return 1, "because"
	}
	return 0, ""
}

// all are the lines that begin so, and how often there is a line.
func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

func (d *diary) count(line string) int {
	return len(slices.DeleteFunc(d.all(), func(l string) bool { return l != line }))
}

// story is a MiniPod and what becomes of it. The agent dies at each of its steps in turn.
type story struct {
	name  string
	pod   func(*miniv1.MiniPod)
	fails []string
	// ends are containers, by name and attempt, that end by themselves, and with what.
	ends map[string]int
	// late has steps counted only when the MiniPod is ready for the first time.
	late bool
	// then is done when it is ready, or was when the agent died; over tells when it has become what it should.
	then func(b *bench, d *diary)
	over func(pod *miniv1.MiniPod) bool
	// check tells what is wrong with what happened, of which the agent's death at a step may be the reason.
	check func(d *diary, at string) string
	// fewest is how many steps it has at least.
	fewest int
}

// everything is a MiniPod with all that has steps of its own: init containers with a sidecar between them, hooks, probes and volumes.
func everything(p *miniv1.MiniPod) {
	initialized(p)
	grace := int64(30)
	p.Spec.TerminationGracePeriodSeconds = &grace
	p.Spec.Volumes = []miniv1.Volume{
		{Name: "scratch", EmptyDir: &miniv1.EmptyDirVolumeSource{}},
		{Name: "settings", ConfigMap: &miniv1.ConfigMapVolumeSource{Name: "settings"}},
		{Name: "login", Secret: &miniv1.SecretVolumeSource{SecretName: "login"}},
		{Name: "files", Image: &miniv1.ImageVolumeSource{Reference: "echo:2"}},
	}
	main, side := &p.Spec.Containers[0], &p.Spec.InitContainers[1]
	for _, v := range p.Spec.Volumes {
		main.VolumeMounts = append(main.VolumeMounts, miniv1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	for _, c := range []*miniv1.Container{main, side} {
		c.Lifecycle = &miniv1.Lifecycle{PostStart: execHook("start"), PreStop: execHook("stop")}
		c.StartupProbe = execProbe("probe-startup")
	}
	main.LivenessProbe, main.ReadinessProbe = execProbe("probe-live"), execProbe("probe-ready")
	main.LivenessProbe.PeriodSeconds, main.LivenessProbe.FailureThreshold = 1, 1
}

func isReady(pod *miniv1.MiniPod) bool {
	return pod != nil && slices.ContainsFunc(pod.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == miniv1.ConditionReady && c.Status == metav1.ConditionTrue
	})
}

// wrote notes what an agent wrote down about a hook, as "main-0 wrote hook preStop".
func (d *diary) wrote(what string) {
	if words := strings.Fields(what); len(words) > 3 && words[0] == "write" && (words[1] == lineHook || words[1] == lineDone) {
		d.note(words[2][uidLength+1:] + " wrote " + words[1] + " " + words[3])
	}
}

// hooksOnce says what is wrong with hooks. That one begins is written down before it is run. A postStart is run once, or not at all where the agent died between the two;
// a preStop is run until it is written down that it is over, by one agent once.
func hooksOnce(d *diary, at, id string) string {
	lines, starts, stops := d.all(), d.count(id+" start"), d.count(id+" stop")
	before := func(first, second string) bool {
		i := slices.Index(lines, first)
		return i >= 0 && (i < slices.Index(lines, second) || !slices.Contains(lines, second))
	}
	lost := strings.HasPrefix(at, "exec start (after it: false") || strings.HasPrefix(at, "write hook ") && strings.HasSuffix(at, "(after it: true)")
	switch {
	case starts > 1 || starts == 0 && !lost:
		return fmt.Sprintf("postStart of %s ran %d times", id, starts)
	case stops == 0 || stops > 2:
		return fmt.Sprintf("preStop of %s ran %d times", id, stops)
	case !before(id+" wrote hook postStart", id+" start") || !before(id+" wrote hook preStop", id+" stop"):
		return "a hook of " + id + " was run before that was written down"
	case slices.Contains(lines, id+" wrote done preStop") && slices.Index(lines, id+" wrote done preStop") < lastIndex(lines, id+" stop"):
		return "preStop of " + id + " was run again when it was over"
	case slices.Contains(lines, id+" kill") && !before(id+" stop", id+" kill"):
		return id + " was asked to end before its preStop"
	}
	return ""
}

func lastIndex(lines []string, line string) int {
	for i, l := range slices.Backward(lines) {
		if l == line {
			return i
		}
	}
	return -1
}

// of are the lines of what was done to containers, without hooks.
func (d *diary) of(what string) (out []string) {
	for _, line := range d.all() {
		if id, did, _ := strings.Cut(line, " "); did == what {
			out = append(out, id)
		}
	}
	return out
}

var stories = []story{
	{
		name: "a whole life", pod: everything, fewest: 40,
		then: func(b *bench, _ *diary) { b.delete("a") }, over: func(pod *miniv1.MiniPod) bool { return pod == nil },
		check: func(d *diary, at string) string {
			if diff := cmp.Diff([]string{"first-0", "side-0", "second-0", "main-0"}, d.of("started")); diff != "" {
				return "starts (-want +got): " + diff
			}
			if diff := cmp.Diff([]string{"main-0", "side-0"}, slices.Compact(d.of("kill"))); diff != "" {
				return "ends (-want +got): " + diff
			}
			if problem := hooksOnce(d, at, "main-0"); problem != "" {
				return problem
			}
			return hooksOnce(d, at, "side-0")
		},
	},
	{
		name: "its liveness fails", pod: everything, late: true, fewest: 8,
		then: func(_ *bench, d *diary) { d.fail("main-0 probe-live") },
		over: func(pod *miniv1.MiniPod) bool { return isReady(pod) && pod.Status.Restarts == 1 },
		check: func(d *diary, at string) string {
			if diff := cmp.Diff([]string{"first-0", "side-0", "second-0", "main-0", "main-1"}, d.of("started")); diff != "" {
				return "starts (-want +got): " + diff
			}
			if d.count("main-1 stop")+d.count("side-0 stop") > 0 {
				return "a preStop was run of what goes on"
			}
			return hooksOnce(d, at, "main-0")
		},
	},
	{
		name: "its postStart fails", fewest: 20, fails: []string{"main-0 start"},
		pod: func(p *miniv1.MiniPod) {
			everything(p)
			p.Spec.InitContainers = nil
		},
		then: func(*bench, *diary) {}, over: func(pod *miniv1.MiniPod) bool { return isReady(pod) },
		check: func(d *diary, at string) string {
			for _, id := range []string{"main-0", "main-1"} {
				if d.count(id+" start") > 1 {
					return "postStart was run twice"
				}
			}
			// Of one that nobody knows the end of, all is well.
			unknown := d.count("main-0 start") == 0 || strings.HasPrefix(at, "exec start (after it: true") || strings.HasPrefix(at, "write fail ") && strings.HasSuffix(at, "(after it: false)")
			started := d.of("started")
			if left := unknown && slices.Equal(started, []string{"main-0"}); !left && !slices.Equal(started, []string{"main-0", "main-1"}) {
				return fmt.Sprintf("started: %v", started)
			}
			return ""
		},
	},
	{
		name: "it is over at its deadline", late: true, fewest: 8,
		pod: func(p *miniv1.MiniPod) {
			everything(p)
			limit := int64(100)
			p.Spec.ActiveDeadlineSeconds = &limit
		},
		then: func(b *bench, _ *diary) { b.clock.Step(101 * time.Second) },
		over: func(pod *miniv1.MiniPod) bool {
			return pod.Status.Phase == miniv1.PodFailed && pod.Status.Reason == miniv1.ReasonDeadlineExceeded
		},
		check: func(d *diary, at string) string {
			if diff := cmp.Diff([]string{"first-0", "side-0", "second-0", "main-0"}, d.of("started")); diff != "" {
				return "starts (-want +got): " + diff
			}
			return hooksOnce(d, at, "main-0")
		},
	},
	{
		name: "its rules restart it", fewest: 8, ends: map[string]int{"main-0": 42, "main-1": 0},
		pod: func(p *miniv1.MiniPod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Containers[0].RestartPolicyRules = []miniv1.ContainerRestartRule{{Action: "Restart",
				ExitCodes: miniv1.ContainerRestartRuleOnExitCodes{Operator: "In", Values: []int32{42}}}}
			p.Spec.Containers[0].RestartPolicy = corev1.ContainerRestartPolicyNever
		},
		then: func(*bench, *diary) {}, over: func(pod *miniv1.MiniPod) bool { return pod.Status.Phase == miniv1.PodSucceeded },
		check: func(d *diary, _ string) string {
			if started := d.of("started"); !slices.Equal(started, []string{"main-0", "main-1"}) {
				return fmt.Sprintf("started: %v", started)
			}
			return ""
		},
	},
}

// TestKilledAtEachStep: the agent is killed before and after each step that it does for a MiniPod in the runtime, the network, its volumes, the API server and its own
// records. The next one finishes: nothing is done twice that may be done once, nothing is left out, and nothing is left.
func TestKilledAtEachStep(t *testing.T) {
	for _, s := range stories {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after %t", s.name, after), func(t *testing.T) {
				t.Parallel()
				n := 1
				for ; s.tell(t, n, after); n++ {
				}
				t.Logf("%d steps", n-1)
				if n <= s.fewest {
					t.Errorf("only %d steps", n-1)
				}
			})
		}
	}
}

// tell tells a story in which the agent dies at its nth step; false when there are fewer.
func (s *story) tell(t *testing.T, n int, after bool) (died bool) {
	t.Run(fmt.Sprint(n), func(t *testing.T) {
		d := &diary{fails: map[string]bool{}}
		for _, line := range s.fails {
			d.fails[line] = true
		}
		m := newMortal(n, after, !s.late)
		b := newBench(t, func(b *bench) {
			b.mortal, b.wrote = m, d.wrote
			s.set(b, d)
		})
		next := func() { // the agent that comes after one that died
			if b.mortal != nil && m.isDead() {
				b.mortal = nil
				b.restart()
			}
		}
		b.create("a", s.pod)
		b.steps("it is ready, or the agent died", 100*time.Millisecond, func() bool { return m.isDead() || s.readyOnce(b) })
		next()
		b.steps("it is ready", 500*time.Millisecond, func() bool { return s.readyOnce(b) })
		m.arm()
		s.then(b, d)
		b.steps("it comes to its end, or the agent died", 500*time.Millisecond, func() bool { return m.isDead() || s.over(b.get("a")) })
		next()
		b.steps("it comes to its end", 500*time.Millisecond, func() bool { return s.over(b.get("a")) })
		died = m.isDead()
		b.mortal = nil
		b.restart()
		if problem := s.check(d, m.last); problem != "" {
			t.Errorf("died at %s: %s\nof %v", m.last, problem, d.all())
		}
		if b.get("a") != nil {
			b.delete("a")
		}
		b.steps("it is gone", 500*time.Millisecond, func() bool { return b.get("a") == nil })
		b.gone("a")
		uids, _ := b.volumes.List()
		held, _ := b.runtime.Holders(context.Background())
		if len(uids)+len(held) > 0 {
			t.Errorf("died at %s: left are volumes of %v and images of %v", m.last, uids, held)
		}
		if t.Failed() {
			t.Logf("died at %s", m.last)
		}
	})
	return died && !t.Failed()
}

// readyOnce tells that a MiniPod was ready, or has ended its work.
func (s *story) readyOnce(b *bench) bool {
	pod := b.get("a")
	return isReady(pod) || len(s.ends) > 0 && pod.Status.Phase == miniv1.PodSucceeded
}

// set prepares the node and the API server.
func (s *story) set(b *bench, d *diary) {
	b.runtime.SetExec(d.exec)
	b.runtime.SetProgram(func(spec runtime.ContainerSpec) fake.Behaviour {
		d.note(spec.ID[uidLength+1:] + " started")
		code, ends := s.ends[spec.ID[uidLength+1:]]
		return fake.Behaviour{Exits: ends || nameOf(spec) == "first" || nameOf(spec) == "second", ExitCode: code}
	})
	b.runtime.OnCall(func(_ context.Context, op fake.Op, id string) error {
		if op == fake.OpKill {
			d.note(id[uidLength+1:] + " kill")
		}
		return nil
	})
	about := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }
	err := errors.Join(b.api.Create(context.Background(), &corev1.ConfigMap{ObjectMeta: about("settings"), Data: map[string]string{"a": "b"}}),
		b.api.Create(context.Background(), &corev1.Secret{ObjectMeta: about("login"), Data: map[string][]byte{"a": []byte("b")}}))
	if err != nil {
		b.t.Fatal(err)
	}
}

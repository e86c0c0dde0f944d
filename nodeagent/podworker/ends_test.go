package podworker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// deaf creates MiniPod "a" with a grace period of 30 s, whose container ignores SIGTERM, and deletes it.
func (b *bench) deaf() {
	b.t.Helper()
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{IgnoresTerm: true} })
	b.create("a", func(p *miniv1.MiniPod) { grace := int64(30); p.Spec.TerminationGracePeriodSeconds = &grace })
	b.shows("a", "Running")
	b.delete("a")
	b.asked(1)
}

// asked waits until the container got so many signals, and until the record says so.
func (b *bench) asked(signals int) {
	b.t.Helper()
	b.until("it was asked to end", func() bool {
		content, _ := os.ReadFile(b.pool.ends.path(b.get("a").UID))
		return len(b.runtime.Calls(fake.OpKill)) == signals && strings.Count(string(content), lineSent) >= 1
	})
}

// endsAfter passes a time after which, and no earlier, the container is to be ended.
func (b *bench) endsAfter(d time.Duration) {
	b.t.Helper()
	b.until("the agent waits", b.clock.HasWaiters)
	b.pass(d - time.Second)
	if len(b.running()) != 1 {
		b.t.Fatalf("the container was ended more than a second early; it had %s left", d)
	}
	b.until("the agent waits", b.clock.HasWaiters)
	b.pass(time.Second)
	b.gone("a")
}

func TestGracePeriodSurvivesTheAgent(t *testing.T) {
	for _, set := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
		t.Run(set.String(), func(t *testing.T) {
			b := newBench(t)
			b.deaf()
			b.until("the agent waits", b.clock.HasWaiters)
			b.pass(10 * time.Second)
			b.kill()
			b.correction = set
			b.clock.SetTime(b.clock.Now().Add(set))
			b.agent()
			b.endsAfter(20 * time.Second)
			if signals := len(b.runtime.Calls(fake.OpKill)); signals != 2 {
				t.Errorf("%d signals, want SIGTERM and SIGKILL", signals)
			}
			if left, err := os.ReadDir(b.layout.endsDir()); err != nil || len(left) > 0 {
				t.Errorf("records are left: %v, %v", left, err)
			}
		})
	}
}

// A container that nobody tells of has its grace period too, by the node's monotonic clock, whatever the clocks of the machine and of
// the API server say, and whichever agent counts it.
func TestGracePeriodWithoutAnswer(t *testing.T) {
	for _, set := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
		t.Run(set.String(), func(t *testing.T) {
			b := newBench(t)
			b.create("a", func(p *miniv1.MiniPod) { grace := int64(30); p.Spec.TerminationGracePeriodSeconds = &grace })
			b.shows("a", "Running")
			uid := b.get("a").UID
			b.runtime.SetSilent(b.containers()[0].ID, true)
			b.restart()
			b.shows("a", miniv1.ReasonContainerStatusUnknown)
			b.delete("a")
			b.until("its grace period began", func() bool {
				content, _ := os.ReadFile(b.pool.ends.path(uid))
				return strings.Count(string(content), lineLeft) == 1
			})
			b.until("the agent waits", b.clock.HasWaiters)
			b.pass(10 * time.Second)
			b.kill()
			b.correction = set
			b.clock.SetTime(b.clock.Now().Add(set))
			b.agent()
			b.until("the agent waits", b.clock.HasWaiters)
			b.pass(19 * time.Second)
			if len(b.containers()) != 1 {
				t.Fatal("the container was removed more than a second early")
			}
			b.until("the agent waits", b.clock.HasWaiters)
			b.pass(time.Second)
			b.gone("a")
		})
	}
}

// An agent that was killed between its record and the signal, or a machine that started again, leaves open whether there was one.
func TestUnknownSignalIsSentAgain(t *testing.T) {
	b := newBench(t)
	b.deaf()
	b.until("the agent waits", b.clock.HasWaiters)
	b.pass(10 * time.Second)
	path := b.pool.ends.path(b.get("a").UID)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.kill()
	first, _, _ := strings.Cut(string(content), "\n")
	if err := os.WriteFile(path, []byte(first+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.agent()
	b.asked(2)
	b.endsAfter(20 * time.Second) // it counts from the first
}

func TestRecordOfAnotherBoot(t *testing.T) {
	b := newBench(t)
	b.deaf()
	b.kill()
	b.boot = "another"
	b.agent()
	b.asked(2)
	b.endsAfter(30 * time.Second)
}

// A signal that fails is sent again, and the container gets no more time for it.
func TestFailedSignal(t *testing.T) {
	b := newBench(t)
	b.runtime.SetProgram(func(runtime.ContainerSpec) fake.Behaviour { return fake.Behaviour{IgnoresTerm: true} })
	b.create("a", func(p *miniv1.MiniPod) { grace := int64(3); p.Spec.TerminationGracePeriodSeconds = &grace })
	b.shows("a", "Running")
	var works atomic.Bool
	b.runtime.OnCall(func(_ context.Context, op fake.Op, _ string) error {
		if op == fake.OpKill && !works.Load() {
			return errors.New("broken")
		}
		return nil
	})
	b.delete("a")
	b.until("the agent tries", func() bool { return len(b.runtime.Calls(fake.OpKill)) > 0 })
	b.until("the agent waits", b.clock.HasWaiters)
	works.Store(true)
	b.pass(3 * time.Second)
	b.gone("a")
}

func TestRecordWhereNoneCanBe(t *testing.T) {
	e := newEnds(filepath.Join(os.DevNull, "ends"))
	if err := e.begin("u", "c"); err == nil {
		t.Error("no error")
	}
	if got := e.read("u", t0); len(got.signals)+len(got.hooks) != 0 || !got.over.IsZero() {
		t.Errorf("read %v", got)
	}
}

// A record does not grow with restarts.
func TestForgottenContainer(t *testing.T) {
	e := newEnds(t.TempDir())
	for _, id := range []string{"a", "b"} {
		for _, line := range []func(types.UID, string) error{e.hook("postStart"), e.hookEnded("postStart", false), e.failed(miniv1.ProbeLiveness), e.hook("preStop"), e.begin, e.sent} {
			if err := line("u", id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := e.forget("u", "a"); err != nil {
		t.Fatal(err)
	}
	if got := e.read("u", t0); len(got.signals) != 1 || got.signals["b"].Failed != miniv1.ProbeLiveness || got.signals["b"].Unsure || len(got.hooks) != 2 {
		t.Errorf("left: %+v", got)
	}
	for range 2 {
		if err := e.forget("u", "b"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(e.path("u")); !os.IsNotExist(err) {
		t.Errorf("an empty record is left: %v", err)
	}
}

func TestParseEnds(t *testing.T) {
	for content, want := range map[string]map[string]podplan.Sent{
		"": {},
		"term a this 1000000000\nsent a\nterm b this 2000000000\n":         {"a": {Term: at(7)}, "b": {Term: at(8), Unsure: true}},
		"term a this 1000000000\nsent a\nterm a this 2000000000\nsent a\n": {"a": {Term: at(7)}},
		"term a other 1000000000\nsent a\n":                                {},
		"left a this 1000000000\nleft a this 2000000000\nsent a\n":         {"a": {Left: at(7)}},
		"left a this 1000000000\nterm a this 2000000000\nsent a\n":         {"a": {Left: at(7), Term: at(8)}},
		"left a other 1000000000\nleft a this 5000000000\nleft a\n":        {},
		"fail a liveness\nterm a this 1000000000\nsent a\n":                {"a": {Term: at(7), Failed: "liveness"}},
		"fail a startup\n":                                      {"a": {Failed: "startup"}},
		"fail a else\nfail a\n":                                 {},
		"term a this 5000000000\n":                              {}, // after now: not by this clock
		"term a this -5\nterm a this x\nsent\nnonsense\nterm a": {},
	} {
		got := parseEnds(content, "this", 4*time.Second, at(10))
		if diff := cmp.Diff(want, got.signals); diff != "" {
			t.Errorf("%q (-want +got):\n%s", content, diff)
		}
	}
}

func TestParseOver(t *testing.T) {
	for content, want := range map[string]time.Time{
		"":                      {},
		"end this 1000000000\n": at(7),
		"end this 1000000000\nterm a this 2000000000\nend this 3000000000\n": at(7),
		"end this 1000000000\ngoes\n":                                        {},
		"end this 1000000000\ngoes\nend this 2000000000\n":                   at(8),
		"end other 1000000000\n":                                             {},
		"end this 5000000000\nend this -1\nend this x\nend this\nend\n":      {},
	} {
		if got := parseEnds(content, "this", 4*time.Second, at(10)); !got.over.Equal(want) {
			t.Errorf("%q: %s, want %s", content, got.over, want)
		}
	}
}

func TestParseHooks(t *testing.T) {
	post, pre := podplan.HookOf{ID: "a", Kind: "postStart"}, podplan.HookOf{ID: "a", Kind: "preStop"}
	for content, want := range map[string]map[podplan.HookOf]podplan.Hook{
		"":                                   {},
		"hook a postStart this 1000000000\n": {post: {Began: at(7)}},
		"hook a postStart this 1000000000\nhook a postStart this 2000000000\n":     {post: {Began: at(7)}},
		"hook a postStart this 1000000000\ndone a postStart\n":                     {post: {Began: at(7), Ended: true}},
		"hook a postStart this 1000000000\nfail a postStart\n":                     {post: {Began: at(7), Ended: true, Failed: true}},
		"hook a preStop this 2000000000\ndone a preStop\nterm a this 3000000000\n": {pre: {Began: at(8), Ended: true}},
		"done a postStart\n": {post: {Ended: true}}, // over, whenever it began
		"hook a postStart other 1000000000\nhook a else this 1\nhook a preStop this\n": {},
		"hook a preStop this 5000000000\nhook a preStop this -1\ndone a\ndone a x\n":   {},
	} {
		got := parseEnds(content, "this", 4*time.Second, at(10))
		if diff := cmp.Diff(want, got.hooks); diff != "" {
			t.Errorf("%q (-want +got):\n%s", content, diff)
		}
	}
}

func FuzzParseEnds(f *testing.F) {
	f.Add("term a this 1000000000\nsent a\n")
	f.Add("term a this 9223372036854775807\n")
	f.Fuzz(func(t *testing.T, content string) {
		got := parseEnds(content, "this", time.Minute, t0)
		for of, hook := range got.hooks {
			if !hook.Began.IsZero() && (hook.Began.After(t0) || t0.Sub(hook.Began) > time.Minute) || hook.Began.IsZero() && !hook.Ended {
				t.Errorf("%v: %+v, now is %s", of, hook, t0)
			}
		}
		for id, sent := range got.signals {
			for _, moment := range []time.Time{sent.Term, sent.Left} {
				if !moment.IsZero() && (moment.After(t0) || t0.Sub(moment) > time.Minute) {
					t.Errorf("%s: %+v, now is %s", id, sent, t0)
				}
			}
			if sent.Term.IsZero() && sent.Left.IsZero() && sent.Failed == "" {
				t.Errorf("%s: nothing is known of it: %+v", id, sent)
			}
		}
	})
}

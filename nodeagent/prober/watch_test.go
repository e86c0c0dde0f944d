package prober

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// script is a container whose commands end as they are told to; by their first argument.
type script struct {
	mu    sync.Mutex
	codes map[string]int
	hangs map[string]bool
	runs  map[string]int
	told  []Report
}

func (s *script) exec(ctx context.Context, _ string, command runtime.Command) (runtime.Executed, error) {
	s.mu.Lock()
	name := command.Args[0]
	s.runs[name]++
	code, hangs := s.codes[name], s.hangs[name]
	s.mu.Unlock()
	if !hangs {
		return runtime.Executed{ExitCode: code}, nil
	}
	select {
	case <-time.After(command.Timeout):
		return runtime.Executed{TimedOut: true, Ran: command.Timeout}, nil
	case <-ctx.Done():
		return runtime.Executed{}, ctx.Err()
	}
}

func (s *script) tell(r Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Words, _, _ = strings.Cut(r.Words, ":")
	s.told = append(s.told, r)
}

// take is what was told since the last time.
func (s *script) take() []Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.told
	s.told = nil
	return out
}

func (s *script) set(name string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[name] = code
}

func (s *script) ran(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[name]
}

func command(name string, change ...func(*miniv1.Probe)) *miniv1.Probe {
	p := &miniv1.Probe{Exec: &miniv1.ExecAction{Command: []string{name}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func (s *script) expect(t *testing.T, when string, want ...Report) {
	t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, s.take()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func newScript() *script {
	return &script{codes: map[string]int{}, hangs: map[string]bool{}, runs: map[string]int{}}
}

// TestWatch is a life: startup, readiness that comes and goes, and a liveness that ends.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.codes["startup"], s.codes["ready"] = 1, 1
		p := New(t.Context(), Options{Exec: s.exec})
		spec := &miniv1.Container{StartupProbe: command("startup"), ReadinessProbe: command("ready"), LivenessProbe: command("live")}
		w := p.Watch(Target{ID: "c", Spec: spec, Started: time.Now()}, s.tell)
		defer w.Stop()
		s.expect(t, "nothing is known yet")
		time.Sleep(5 * time.Second)
		s.set("startup", 0)
		time.Sleep(5 * time.Second)
		s.expect(t, "it has started", Report{Facts: probe.Facts{Started: true}})
		runs := s.ran("startup")
		s.set("ready", 0)
		time.Sleep(10 * time.Second)
		s.expect(t, "it is ready", Report{Facts: probe.Facts{Started: true, Ready: true}})
		s.set("ready", 1)
		time.Sleep(30 * time.Second)
		s.expect(t, "it is not", Report{Facts: probe.Facts{Started: true}, Words: "readiness probe failed"})
		s.set("live", 1)
		time.Sleep(30 * time.Second)
		s.expect(t, "it has to end", Report{Facts: probe.Facts{Started: true, Failed: miniv1.ProbeLiveness}, Words: "liveness probe failed"})
		lives := s.ran("live")
		time.Sleep(time.Minute)
		s.expect(t, "nothing more")
		if s.ran("live") != lives || s.ran("startup") != runs {
			t.Error("asked again what is known")
		}
	})
}

// An agent that stood still asks once when it goes on, and what hung meanwhile is no failure.
func TestStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.hangs["live"] = true
		held := make(chan struct{})
		stood := func(ctx context.Context, id string, c runtime.Command) (runtime.Executed, error) {
			end, err := s.exec(ctx, id, c)
			<-held // the process is stopped
			end.Ran = time.Minute
			return end, err
		}
		p := New(t.Context(), Options{Exec: stood})
		one := func(p *miniv1.Probe) { p.FailureThreshold, p.PeriodSeconds = 1, 1 }
		w := p.Watch(Target{ID: "c", Spec: &miniv1.Container{LivenessProbe: command("live", one)}, Started: time.Now()}, s.tell)
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.hangs["live"] = false
		s.mu.Unlock()
		close(held)
		synctest.Wait()
		if n := s.ran("live"); n != 2 {
			t.Errorf("%d runs: what was missed was made up for", n)
		}
		s.expect(t, "nothing follows")
		w.Stop()
	})
}

// After Stop nobody is asked or told, and nothing is left: the bubble ends only when no goroutine is in it.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.hangs["live"] = true
		ctx, cancel := context.WithCancel(context.Background())
		p := New(ctx, Options{Exec: s.exec})
		slow := func(p *miniv1.Probe) { p.TimeoutSeconds = 3600 }
		w := p.Watch(Target{ID: "c", Spec: &miniv1.Container{LivenessProbe: command("live", slow), ReadinessProbe: command("ready")}, Started: time.Now()}, s.tell)
		s.expect(t, "ready", Report{Facts: probe.Facts{Started: true, Ready: true}})
		w.Stop()
		runs := s.ran("ready")
		time.Sleep(time.Hour)
		s.expect(t, "after the end")
		if s.ran("ready") != runs {
			t.Error("asked after the end")
		}
		cancel()
	})
}

// A command waits for its turn, and one that gets none says nothing of the container.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		p := New(t.Context(), Options{Exec: s.exec, Turn: func(context.Context, string, func()) {}})
		w := p.Watch(Target{ID: "c", Spec: &miniv1.Container{LivenessProbe: command("live")}, Started: time.Now()}, s.tell)
		time.Sleep(time.Hour)
		s.expect(t, "no turn came")
		if s.ran("live") != 0 {
			t.Error("ran without a turn")
		}
		w.Stop()
	})
}

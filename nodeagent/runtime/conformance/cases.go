package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

func testVersion(t *testing.T, s *suite) {
	version, err := s.r.Version(t.Context())
	must(t, err)
	if !regexp.MustCompile(`^[a-z]+://\d+\.\d+`).MatchString(version) {
		t.Errorf("version %q, want one like containerd://2.4.2", version)
	}
}

func testLifecycle(t *testing.T, s *suite) {
	before := time.Now().Add(-time.Second)
	spec := s.create(t, Program{Print: []string{"ready"}})
	created, found := s.find(t, spec.ID)
	if !found {
		t.Fatal("not listed after Create")
	}
	want := runtime.Container{ID: spec.ID, Labels: spec.Labels, Image: spec.Image, ImageID: created.ImageID,
		State: runtime.StateCreated, CreatedAt: created.CreatedAt}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if created.CreatedAt.Before(before) || created.ImageID == "" {
		t.Errorf("created %+v", created)
	}
	must(t, s.r.Start(t.Context(), spec.ID))
	running := s.awaits(t, spec.ID, runtime.StateRunning)
	if running.PID == 0 || running.StartedAt.Before(before) {
		t.Errorf("running %+v", running)
	}
	waitLog(t, spec.LogPath, 1)
	must(t, s.r.Kill(t.Context(), spec.ID, runtime.SIGTERM))
	exited := s.awaits(t, spec.ID, runtime.StateExited)
	if exited.ExitCode != 143 || exited.PID != 0 || exited.OOMKilled || exited.FinishedAt.Before(running.StartedAt) {
		t.Errorf("exited %+v after %+v", exited, running)
	}
	if !exited.StartedAt.Equal(running.StartedAt) {
		t.Errorf("started at %v, and after its exit at %v", running.StartedAt, exited.StartedAt)
	}
}

func testExitCode(t *testing.T, s *suite) {
	for _, code := range []int{0, 1, 42} {
		spec := s.run(t, Program{Exits: true, ExitCode: code})
		if c := s.awaits(t, spec.ID, runtime.StateExited); c.ExitCode != code {
			t.Errorf("exit code %d, want %d", c.ExitCode, code)
		}
	}
}

func testIgnoresTerm(t *testing.T, s *suite) {
	spec := s.run(t, Program{IgnoreTerm: true, Print: []string{"deaf"}})
	waitLog(t, spec.LogPath, 1)
	must(t, s.r.Kill(t.Context(), spec.ID, runtime.SIGTERM))
	time.Sleep(100 * time.Millisecond) // what must not happen has no event
	s.awaits(t, spec.ID, runtime.StateRunning)
	must(t, s.r.Kill(t.Context(), spec.ID, runtime.SIGKILL))
	if c := s.awaits(t, spec.ID, runtime.StateExited); c.ExitCode != 137 {
		t.Errorf("exit code %d, want 137", c.ExitCode)
	}
}

// testStopSignal: a container is asked to end as it says, or as its image does, or by SIGTERM, also by an agent that did not make it.
func testStopSignal(t *testing.T, s *suite) {
	for name, c := range map[string]struct {
		image string
		stop  runtime.Signal
		code  int
	}{
		"nobody's":             {s.Image, 0, 143},
		"the image's":          {s.Stops, 0, 138},
		"its own":              {s.Image, 37, 165},
		"its own goes before":  {s.Stops, runtime.SIGTERM, 143},
		"its own, as numbered": {s.Image, 10, 138},
	} {
		t.Run(name, func(t *testing.T) {
			spec := s.spec(t, Program{Print: []string{"ready"}})
			spec.Image, spec.StopSignal = c.image, c.stop
			must(t, s.r.Create(t.Context(), spec))
			t.Cleanup(func() { s.gone(t, spec.ID) })
			must(t, s.r.Start(t.Context(), spec.ID))
			waitLog(t, spec.LogPath, 1)
			must(t, s.New(t).Kill(t.Context(), spec.ID, runtime.StopSignal))
			if ended := s.awaits(t, spec.ID, runtime.StateExited); ended.ExitCode != c.code {
				t.Errorf("exit code %d, want %d", ended.ExitCode, c.code)
			}
		})
	}
}

func testRemoveRunning(t *testing.T, s *suite) {
	spec := s.run(t, Program{IgnoreTerm: true})
	s.gone(t, spec.ID)
	must(t, s.r.Remove(t.Context(), spec.ID))
}

// testInspect: one container is told of as all are, in each of its states.
func testInspect(t *testing.T, s *suite) {
	spec := s.create(t, Program{Exits: true, ExitCode: 5})
	other := s.run(t, Program{})
	same := func(id string, want runtime.State) {
		t.Helper()
		listed := s.awaits(t, id, want)
		inspected, err := s.r.Inspect(t.Context(), id)
		must(t, err)
		if diff := cmp.Diff(listed, inspected); diff != "" {
			t.Errorf("%s (-listed +inspected):\n%s", want, diff)
		}
	}
	same(spec.ID, runtime.StateCreated)
	same(other.ID, runtime.StateRunning)
	must(t, s.r.Start(t.Context(), spec.ID))
	same(spec.ID, runtime.StateExited)
	must(t, s.r.Remove(t.Context(), spec.ID))
	for _, id := range []string{spec.ID, "nothing"} {
		if c, err := s.r.Inspect(t.Context(), id); !errdefs.IsNotFound(err) {
			t.Errorf("%s: %+v, %v, want NotFound", id, c, err)
		}
	}
}

// testSweep: what has a record is not lost, in whatever state, however often it is looked for.
func testSweep(t *testing.T, s *suite) {
	created, running := s.create(t, Program{}), s.run(t, Program{})
	exited := s.run(t, Program{Exits: true})
	s.awaits(t, exited.ID, runtime.StateExited)
	before := s.awaits(t, running.ID, runtime.StateRunning)
	for range 3 {
		must(t, s.r.Sweep(t.Context()))
	}
	if after := s.awaits(t, running.ID, runtime.StateRunning); after.PID != before.PID {
		t.Errorf("process %d, and %d before", after.PID, before.PID)
	}
	s.awaits(t, created.ID, runtime.StateCreated)
	s.awaits(t, exited.ID, runtime.StateExited)
	must(t, s.r.Start(t.Context(), created.ID))
	s.awaits(t, created.ID, runtime.StateRunning)
}

func testRefusals(t *testing.T, s *suite) {
	spec := s.create(t, Program{})
	missing := s.spec(t, Program{})
	missing.Image = s.Missing
	badID := s.spec(t, Program{})
	badID.ID = "../etc"
	for _, test := range []struct {
		name string
		err  error
		is   func(error) bool
	}{
		{"create twice", s.r.Create(t.Context(), spec), errdefs.IsAlreadyExists},
		{"create without image", s.r.Create(t.Context(), missing), errdefs.IsNotFound},
		{"create with a bad ID", s.r.Create(t.Context(), badID), errdefs.IsInvalidArgument},
		{"start nothing", s.r.Start(t.Context(), "nothing"), errdefs.IsNotFound},
		{"kill nothing", s.r.Kill(t.Context(), "nothing", runtime.SIGTERM), errdefs.IsNotFound},
		{"kill what does not run", s.r.Kill(t.Context(), spec.ID, runtime.SIGTERM), errdefs.IsNotFound},
	} {
		if !test.is(test.err) {
			t.Errorf("%s: %v", test.name, test.err)
		}
	}
	exited := s.run(t, Program{Exits: true})
	s.awaits(t, exited.ID, runtime.StateExited)
	if err := s.r.Kill(t.Context(), exited.ID, runtime.SIGKILL); !errdefs.IsNotFound(err) {
		t.Errorf("kill what exited: %v, want NotFound", err)
	}
	must(t, s.r.Remove(t.Context(), "nothing"))
}

// testNonRoot: what must not run as root is not even created when it would, and runs as another user.
func testNonRoot(t *testing.T, s *suite) {
	root, other := uint32(0), uint32(1000)
	for name, security := range map[string]runtime.Security{
		"the image's user": {NonRoot: true}, "a given user": {NonRoot: true, User: &root}} {
		spec := s.spec(t, Program{})
		spec.Security = security
		if err := s.r.Create(t.Context(), spec); !errors.Is(err, runtime.ErrSettings) {
			t.Errorf("root by %s: %v, want ErrSettings", name, err)
		}
		if _, found := s.find(t, spec.ID); found {
			t.Errorf("root by %s: it is there all the same", name)
		}
	}
	spec := s.spec(t, Program{Exits: true, ExitCode: 3})
	spec.Security = runtime.Security{NonRoot: true, User: &other}
	must(t, s.r.Create(t.Context(), spec))
	t.Cleanup(func() { s.gone(t, spec.ID) })
	must(t, s.r.Start(t.Context(), spec.ID))
	if c := s.awaits(t, spec.ID, runtime.StateExited); c.ExitCode != 3 {
		t.Errorf("exit code %d, want 3", c.ExitCode)
	}
}

func testStartTwice(t *testing.T, s *suite) {
	spec := s.run(t, Program{})
	if err := s.r.Start(t.Context(), spec.ID); !errdefs.IsAlreadyExists(err) {
		t.Errorf("started twice: %v, want AlreadyExists", err)
	}
	s.awaits(t, spec.ID, runtime.StateRunning)
}

var logLine = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z stdout F (.*)$`)

func testLog(t *testing.T, s *suite) {
	spec := s.run(t, Program{Print: []string{"one", "two words", ""}})
	if diff := cmp.Diff([]string{"one", "two words", ""}, waitLog(t, spec.LogPath, 3)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// waitLog reads a log's lines once there are that many.
func waitLog(t *testing.T, path string, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(path)
		if strings.Count(string(text), "\n") >= n {
			return logLines(t, path)
		}
		if time.Now().After(deadline) {
			t.Fatalf("log is %q, want %d lines", text, n)
		}
	}
}

func logLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	var out []string
	for line := range strings.Lines(string(text)) {
		match := logLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if match == nil {
			t.Fatalf("log line %q", line)
		}
		out = append(out, match[1])
	}
	return out
}

// testEvents: start, exit and deletion are told in this order, and an exit is told when its status and its log are there.
func testEvents(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := s.r.Events(ctx)
	must(t, err)
	for i := range 5 {
		spec := s.run(t, Program{Print: []string{"last words"}, Exits: true, ExitCode: i})
		next(t, events, runtime.EventStarted, spec.ID)
		next(t, events, runtime.EventExited, spec.ID)
		if c, _ := s.find(t, spec.ID); c.State != runtime.StateExited || c.ExitCode != i {
			t.Errorf("after its exit was told: %+v", c)
		}
		if diff := cmp.Diff([]string{"last words"}, logLines(t, spec.LogPath)); diff != "" {
			t.Errorf("log after the exit was told (-want +got):\n%s", diff)
		}
		must(t, s.r.Remove(t.Context(), spec.ID))
		next(t, events, runtime.EventDeleted, spec.ID)
	}
}

// next waits for an event, past others and repetitions.
func next(t *testing.T, events <-chan runtime.Event, kind runtime.EventType, id string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("events end before %s of %s", kind, id)
			}
			if e.Type == kind && e.ContainerID == id && !e.Time.IsZero() {
				return
			}
		case <-timeout:
			t.Fatalf("no event %s of %s", kind, id)
		}
	}
}

func testEventsEnd(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	events, err := s.r.Events(ctx)
	must(t, err)
	cancel()
	timeout := time.After(patience)
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-timeout:
			t.Fatal("the channel is open after the context's end")
		}
	}
}

// testNewAgent: a second agent finds what the first made, and goes on with it.
func testNewAgent(t *testing.T, s *suite) {
	created := s.create(t, Program{Print: []string{"hello"}})
	running := s.run(t, Program{Print: []string{"ready"}})
	waitLog(t, running.LogPath, 1)
	exited := s.run(t, Program{Exits: true, ExitCode: 7})
	s.awaits(t, exited.ID, runtime.StateExited)

	old := s.r
	defer func() { s.r = old }()
	s.r = s.New(t)
	if c := s.awaits(t, running.ID, runtime.StateRunning); c.PID == 0 || c.StartedAt.IsZero() || !cmp.Equal(c.Labels, running.Labels) {
		t.Errorf("running: %+v", c)
	}
	if c := s.awaits(t, exited.ID, runtime.StateExited); c.ExitCode != 7 || c.FinishedAt.IsZero() || c.StartedAt.IsZero() {
		t.Errorf("exited: %+v", c)
	}
	s.awaits(t, created.ID, runtime.StateCreated)
	must(t, s.r.Start(t.Context(), created.ID))
	if diff := cmp.Diff([]string{"hello"}, waitLog(t, created.LogPath, 1)); diff != "" {
		t.Errorf("log of what the second agent started (-want +got):\n%s", diff)
	}
	must(t, s.r.Kill(t.Context(), running.ID, runtime.SIGTERM))
	s.awaits(t, running.ID, runtime.StateExited)
}

func testParallel(t *testing.T, s *suite) {
	var group sync.WaitGroup
	errs := make(chan error, 100)
	var specs []runtime.ContainerSpec
	for i := range 12 {
		specs = append(specs, s.spec(t, Program{ExitCode: i, Exits: true}))
	}
	for _, spec := range specs {
		group.Go(func() {
			if err := s.r.Create(t.Context(), spec); err != nil {
				errs <- fmt.Errorf("create: %w", err)
			} else if err := s.r.Start(t.Context(), spec.ID); err != nil {
				errs <- fmt.Errorf("start: %w", err)
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	for i, spec := range specs {
		if c := s.awaits(t, spec.ID, runtime.StateExited); c.ExitCode != i {
			t.Errorf("exit code %d, want %d", c.ExitCode, i)
		}
		group.Go(func() { s.gone(t, spec.ID) })
	}
	group.Wait()
}

package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

func (s *suite) command(p Program) runtime.Command {
	return runtime.Command{Args: s.Command(p), Timeout: patience, MaxOutput: 64}
}

// testExec: a command's exit code and the beginning of its output come back, as often as one is run.
func testExec(t *testing.T, s *suite) {
	spec := s.run(t, Program{})
	for code := range 3 {
		got, err := s.r.Exec(t.Context(), spec.ID, s.command(Program{Print: []string{"one", "two"}, Exits: true, ExitCode: code}))
		must(t, err)
		if got.ExitCode != code || got.TimedOut || string(got.Output) != "one\ntwo\n" {
			t.Errorf("%d: %+v %q", code, got, got.Output)
		}
	}
	var lines []string
	for range 2000 { // more than a pipe takes
		lines = append(lines, "0123456789012345678901234567890123456789")
	}
	got, err := s.r.Exec(t.Context(), spec.ID, s.command(Program{Print: lines, Exits: true, ExitCode: 7}))
	must(t, err)
	if got.ExitCode != 7 || string(got.Output) != strings.Join(lines, "\n")[:64] {
		t.Errorf("much output: %+v %q", got, got.Output)
	}
	s.awaits(t, spec.ID, runtime.StateRunning)

	patient := s.command(Program{Exits: true, ExitCode: 3})
	patient.Timeout = 0 // it may take as long as it likes
	if got, err := s.r.Exec(t.Context(), spec.ID, patient); err != nil || got.ExitCode != 3 || got.TimedOut {
		t.Errorf("without a timeout: %+v, %v", got, err)
	}
	if _, err := s.r.Exec(t.Context(), "nothing", s.command(Program{Exits: true})); !errdefs.IsNotFound(err) {
		t.Errorf("in nothing: %v, want NotFound", err)
	}
	exited := s.run(t, Program{Exits: true})
	s.awaits(t, exited.ID, runtime.StateExited)
	if _, err := s.r.Exec(t.Context(), exited.ID, s.command(Program{Exits: true})); err == nil {
		t.Error("in a container that has ended")
	}
}

// testExecTimeout: a command that takes too long is ended, and the container goes on.
func testExecTimeout(t *testing.T, s *suite) {
	spec := s.run(t, Program{})
	command := s.command(Program{IgnoreTerm: true})
	command.Timeout = 100 * time.Millisecond
	got, err := s.r.Exec(t.Context(), spec.ID, command)
	must(t, err)
	if !got.TimedOut {
		t.Errorf("%+v", got)
	}
	s.awaits(t, spec.ID, runtime.StateRunning)
	if got, err := s.r.Exec(t.Context(), spec.ID, s.command(Program{Exits: true})); err != nil || got.TimedOut || got.ExitCode != 0 {
		t.Errorf("after it: %+v, %v", got, err)
	}
}

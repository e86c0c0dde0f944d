// Package conformance says in tests what the runtime interface promises. It runs on the fake and on the real runtime, so
// that what an engineer learns from the one holds for the other.
package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/slow"
)

// Program is what a test wants a container to do: print, then exit with a code or wait for a signal.
type Program struct {
	Print      []string
	Exits      bool
	ExitCode   int
	IgnoreTerm bool
}

// Script is the program for a POSIX shell.
func (p Program) Script() string {
	var out strings.Builder
	switch {
	case p.IgnoreTerm:
		out.WriteString("trap '' TERM\n")
	case !p.Exits:
		out.WriteString("trap 'exit 143' TERM\ntrap 'exit 138' USR1\ntrap 'exit 165' 37\n")
	}
	for _, line := range p.Print {
		fmt.Fprintf(&out, "echo '%s'\n", line)
	}
	if p.Exits {
		fmt.Fprintf(&out, "exit %d\n", p.ExitCode)
	} else {
		out.WriteString("while :; do sleep 1000 & wait $!; done\n")
	}
	return out.String()
}

// Harness is a runtime under test.
type Harness struct {
	// New gives the runtime as a new agent would get it: the second call returns one that finds the first one's containers.
	New func(t *testing.T) runtime.Runtime
	// Image is present, runs programs, and runs them as root when nothing is said; Missing is neither present nor in a registry.
	Image, Missing string
	// Stops is an image like Image that asks to be ended by SIGUSR1.
	Stops string
	// Private is in a registry that gives it for Login only. It is not present.
	Private string
	Login   runtime.RegistryAuth
	// Command runs a program in a container of Image.
	Command func(Program) []string
	// Namespaces to join and CgroupParent to use; empty for a fake.
	Namespaces   runtime.Namespaces
	CgroupParent string
	// Leftovers names what is still there of a removed container, beyond what List shows.
	Leftovers func(id string) []string
}

// patience is how long anything may take on a busy machine.
var patience = slow.By(30 * time.Second)

var counter atomic.Int64

type suite struct {
	Harness
	r runtime.Runtime
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	s := &suite{h, h.New(t)}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"Version", testVersion},
		{"Images", testImages},
		{"PrivateImages", testPrivateImages},
		{"Lifecycle", testLifecycle},
		{"ExitCode", testExitCode},
		{"IgnoresTerm", testIgnoresTerm},
		{"StopSignal", testStopSignal},
		{"RemoveRunning", testRemoveRunning},
		{"Inspect", testInspect},
		{"Sweep", testSweep},
		{"Refusals", testRefusals},
		{"NonRoot", testNonRoot},
		{"StartTwice", testStartTwice},
		{"Log", testLog},
		{"Events", testEvents},
		{"EventsEnd", testEventsEnd},
		{"NewAgent", testNewAgent},
		{"Parallel", testParallel},
		{"Exec", testExec},
		{"ExecTimeout", testExecTimeout},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
	list, err := s.r.List(context.Background())
	if err != nil || len(list) != 0 {
		t.Errorf("containers left behind: %v, %v", list, err)
	}
}

// spec of a container that nobody else has.
func (s *suite) spec(t *testing.T, p Program) runtime.ContainerSpec {
	n := counter.Add(1)
	id := fmt.Sprintf("conformance-%d-%d", time.Now().UnixNano()%1e9, n)
	return runtime.ContainerSpec{
		ID: id, Group: id, Image: s.Image, Command: s.Command(p), Namespaces: s.Namespaces,
		Labels:     map[string]string{runtime.LabelPodUID: id, runtime.LabelContainer: "main", runtime.LabelAttempt: "0"},
		CgroupPath: filepath.Join(s.CgroupParent, "pod"+id, id),
		LogPath:    filepath.Join(t.TempDir(), "0.log"),
	}
}

// run creates and starts a container, and removes it when the test ends.
func (s *suite) run(t *testing.T, p Program) runtime.ContainerSpec {
	t.Helper()
	spec := s.create(t, p)
	must(t, s.r.Start(t.Context(), spec.ID))
	return spec
}

func (s *suite) create(t *testing.T, p Program) runtime.ContainerSpec {
	t.Helper()
	spec := s.spec(t, p)
	must(t, s.r.Create(t.Context(), spec))
	t.Cleanup(func() { s.gone(t, spec.ID) })
	return spec
}

// gone removes a container and checks that nothing is left.
func (s *suite) gone(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, s.r.Remove(ctx, id))
	if _, found := s.find(t, id); found {
		t.Errorf("container %s is listed after Remove", id)
	}
	if s.Leftovers != nil {
		if left := s.Leftovers(id); len(left) > 0 {
			t.Errorf("left of %s after Remove: %v", id, left)
		}
	}
}

func (s *suite) find(t *testing.T, id string) (runtime.Container, bool) {
	t.Helper()
	list, err := s.r.List(context.Background())
	must(t, err)
	i := slices.IndexFunc(list, func(c runtime.Container) bool { return c.ID == id })
	if i < 0 {
		return runtime.Container{}, false
	}
	return list[i], true
}

// awaits a state, by events where they come and by looking again where they do not.
func (s *suite) awaits(t *testing.T, id string, want runtime.State) runtime.Container {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		c, found := s.find(t, id)
		if found && c.State == want {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("container %s is %q (listed: %t), want %q", id, c.State, found, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package containerd_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/test/containerdenv"
)

// TestExec runs commands in a container through containerd, as exec does.
func TestExec(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) { testExec(t, node(t)) })
	}
}

func testExec(t *testing.T, n *node) {
	n.start(t, n.runtime(t), "execs", "while :; do sleep 1; done")
	c := n.Client(t)
	defer c.Close()
	ctx := namespaces.WithNamespace(t.Context(), containerdenv.Namespace)
	container, err := c.LoadContainer(ctx, "execs")
	must(t, err)
	task, err := container.Task(ctx, nil)
	must(t, err)
	spec, err := container.Spec(ctx)
	must(t, err)

	out, code := execute(ctx, t, task, spec.Process, "in", false, "hello\n", "cat; echo err >&2; grep Seccomp: /proc/self/status; exit 9")
	if code != 9 || out != "hello\nSeccomp:\t2\nerr\n" {
		t.Errorf("%d %q", code, out)
	}
	// The end of the input, which is told before most of it is read, cuts nothing off.
	much := strings.Repeat("a line\n", 1<<20)
	if out, code = execute(ctx, t, task, spec.Process, "much", false, much, "wc -l"); code != 0 || strings.TrimSpace(out) != "1048576" {
		t.Errorf("%d %q", code, out)
	}
	if out, code = execute(ctx, t, task, spec.Process, "group", false, "", "cmp /proc/1/cgroup /proc/self/cgroup && { grep memory /proc/self/cgroup || cat /proc/self/cgroup; }"); code != 0 || !strings.Contains(out, "/execs\n") && out != "0::/\n" {
		t.Errorf("%d %q", code, out)
	}
	if out, code = execute(ctx, t, task, spec.Process, "tty", true, "", "[ -t 1 ] && echo terminal"); code != 0 || out != "terminal\r\n" {
		t.Errorf("%d %q", code, out)
	}
	// A process that stands still half-made would be waited for.
	must(t, task.Pause(ctx))
	p, err := task.Exec(ctx, "paused", spec.Process, cio.NullIO)
	if err == nil { // runc's shim refuses it sooner
		err = p.Start(ctx)
	}
	if !strings.Contains(fmt.Sprint(err), "paused") {
		t.Errorf("in a container that is paused: %v", err)
	}
	must(t, task.Resume(ctx))
	if _, code = execute(ctx, t, task, spec.Process, "killed", false, "", "kill -9 $$"); code != 137 {
		t.Errorf("killed: %d", code)
	}
}

// TestExecStopped: a container that stops whatever comes into it holds up only who comes, who stands in its cgroup; and it can be removed.
func TestExecStopped(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	n.start(t, r, "stops", "while :; do kill -STOP -1 2>/dev/null; done")
	c := n.Client(t)
	defer c.Close()
	ctx, cancel := context.WithCancel(namespaces.WithNamespace(t.Context(), containerdenv.Namespace))
	defer cancel()
	container, err := c.LoadContainer(ctx, "stops")
	must(t, err)
	task, err := container.Task(ctx, nil)
	must(t, err)
	spec, err := container.Spec(ctx)
	must(t, err)
	init := int(task.Pid())
	server := parent(t, init)
	before := files(t, server)

	const count = 8
	var starts sync.WaitGroup
	defer starts.Wait()
	for i := range count {
		p, err := task.Exec(ctx, fmt.Sprint("command-", i), spec.Process, cio.NullIO)
		must(t, err)
		starts.Go(func() { _ = p.Start(ctx) })
	}
	inside := func(pid int) bool {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		own, ownErr := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
		return err == nil && ownErr == nil && theirs == own && pid != init
	}
	eventually(t, func() string {
		processes, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, stat := range processes {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			if text, _ := os.ReadFile(stat); !inside(pid) || !strings.Contains(string(text), ") T ") {
				continue
			}
			theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			own, ownErr := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", init))
			if err != nil || ownErr != nil || limited(theirs) != limited(own) {
				t.Errorf("it stands in %s, the container is in %s: %v, %v", theirs, own, err, ownErr)
			}
			return ""
		}
		return "no command was stopped"
	})
	if now := files(t, server); now > before+count*5 {
		t.Errorf("the server has %d files open, and had %d before %d commands waited", now, before, count)
	}
	must(t, r.Remove(t.Context(), "stops"))
	if left := n.leftovers("stops"); len(left) > 0 {
		t.Error(left)
	}
	ends(t, "its first process", init)
}

// unheard is a command's output that nobody reads.
type unheard struct {
	cio.IO
	config cio.Config
}

func (u unheard) Config() cio.Config { return u.config }
func (u unheard) Cancel()            {}
func (u unheard) Wait()              {}
func (u unheard) Close() error       { return nil }

// TestExecUnheard: a command whose caller is gone before it has started runs, ends, and is collected; the container can end.
func TestExecUnheard(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	n.start(t, r, "unheard", "while :; do sleep 1; done")
	c := n.Client(t)
	defer c.Close()
	ctx := namespaces.WithNamespace(t.Context(), containerdenv.Namespace)
	container, err := c.LoadContainer(ctx, "unheard")
	must(t, err)
	task, err := container.Task(ctx, nil)
	must(t, err)
	spec, err := container.Spec(ctx)
	must(t, err)
	process := *spec.Process
	process.Args = shell("echo words")
	path := filepath.Join(n.Dir, "fifo")
	must(t, unix.Mkfifo(path, 0o600))
	p, err := task.Exec(ctx, "command", &process, func(string) (cio.IO, error) {
		return unheard{config: cio.Config{Stdout: path, Stderr: path}}, nil
	})
	must(t, err)
	ended, err := p.Wait(ctx)
	must(t, err)
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	must(t, p.Start(limited))
	if end := <-ended; end.ExitCode() != 0 {
		t.Errorf("it ended with %d: %v", end.ExitCode(), end.Error())
	}
	init := int(task.Pid())
	must(t, r.Remove(t.Context(), "unheard"))
	ends(t, "its first process", init)
}

// TestExecKilled: a container that kills whatever comes into it, as soon as it is there, leaves nothing of it, and can be removed.
func TestExecKilled(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	n.start(t, r, "kills", "while :; do kill -KILL -1 2>/dev/null; done")
	c := n.Client(t)
	defer c.Close()
	ctx := namespaces.WithNamespace(t.Context(), containerdenv.Namespace)
	container, err := c.LoadContainer(ctx, "kills")
	must(t, err)
	task, err := container.Task(ctx, nil)
	must(t, err)
	spec, err := container.Spec(ctx)
	must(t, err)
	failed := 0
	for i := range 5 {
		p, err := task.Exec(ctx, fmt.Sprint("command-", i), spec.Process, cio.NullIO)
		must(t, err)
		if p.Start(ctx) != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("all commands started")
	}
	init := int(task.Pid())
	must(t, r.Remove(t.Context(), "kills"))
	if left := n.leftovers("kills"); len(left) > 0 {
		t.Error(left)
	}
	ends(t, "its first process", init)
}

// limited is where a process is, but for the hierarchy without controllers beside those of cgroup v1.
func limited(groups []byte) string {
	if before, _, both := strings.Cut(string(groups), "\n0::"); both {
		return before
	}
	return string(groups)
}

func files(t *testing.T, pid int) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	return len(open)
}

func execute(ctx context.Context, t *testing.T, task client.Task, like *specs.Process, id string, terminal bool, input, script string) (string, uint32) {
	t.Helper()
	return executeProgram(ctx, t, task, like, id, terminal, input, shell(script))
}

func executeProgram(ctx context.Context, t *testing.T, task client.Task, like *specs.Process, id string, terminal bool, input string, args []string) (string, uint32) {
	t.Helper()
	process := *like
	process.Args, process.Terminal = args, terminal
	var out, errs bytes.Buffer
	streams := []cio.Opt{cio.WithStreams(strings.NewReader(input), &out, &errs)}
	if terminal {
		streams = append(streams, cio.WithTerminal)
	}
	p, err := task.Exec(ctx, id, &process, cio.NewCreator(streams...))
	must(t, err)
	exited, err := p.Wait(ctx)
	must(t, err)
	must(t, p.Start(ctx))
	if input != "" {
		must(t, p.CloseIO(ctx, client.WithStdinCloser))
	}
	status := <-exited
	p.IO().Wait()
	_, err = p.Delete(ctx)
	must(t, err)
	return out.String() + errs.String(), status.ExitCode()
}

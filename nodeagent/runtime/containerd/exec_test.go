package containerd_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	specs "github.com/opencontainers/runtime-spec/specs-go"

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

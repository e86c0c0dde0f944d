package node

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestOneAgentAtATime: a second agent of the same machine, and a clean-up, touch nothing while the first is there, however that is stopped,
// and go on when it has ended. Asked to end, one that waits does.
func TestOneAgentAtATime(t *testing.T) {
	e := newEnv(t)
	e.run(e.sh("pod", "exec sleep 1000000"))
	before := e.shows("pod", "Running")
	if err := e.agent.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waiting := "Another agent works on this machine"
	start := func(args ...string) *exec.Cmd {
		t.Helper()
		already := strings.Count(e.wholeLog(), waiting)
		cmd := e.command(args...)
		var err error
		e.ns.Do(func() { err = cmd.Start() })
		if err != nil {
			t.Fatal(err)
		}
		e.until("it waits", func() bool { return strings.Count(e.wholeLog(), waiting) > already })
		return cmd
	}
	cleanup := start("--cleanup")
	if err := cleanup.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cleanup.Wait(); err == nil {
		t.Error("a clean-up that did nothing says that it did")
	}
	second := start()
	e.kill()
	e.agent = second
	e.join()
	e.run(e.sh("another", "exec sleep 1000000"))
	e.shows("another", "Running")
	if now := e.get("pod"); now.Status.Restarts != 0 || now.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("status %+v", now.Status)
	}
	e.deleteAll()
	e.clean()
}

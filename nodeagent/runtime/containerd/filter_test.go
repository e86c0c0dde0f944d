package containerd_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/test/containerdenv"
)

// A command in a container runs under the filter of the container's first process, bit by bit, and has no more files open than it was given.
func TestExecFilter(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) { testExecFilter(t, node(t)) })
	}
}

func testExecFilter(t *testing.T, n *node) {
	n.start(t, n.runtime(t), "filtered", "while :; do sleep 1; done")
	c := n.Client(t)
	defer c.Close()
	ctx := namespaces.WithNamespace(t.Context(), containerdenv.Namespace)
	container, err := c.LoadContainer(ctx, "filtered")
	must(t, err)
	task, err := container.Task(ctx, nil)
	must(t, err)
	spec, err := container.Spec(ctx)
	must(t, err)
	for _, privileges := range []bool{false, true} { // without new ones, libcontainer sets the filter at another time
		spec.Process.NoNewPrivileges = !privileges
		spec.Process.Args = []string{"/bin/busybox", "sleep", "1000"}
		p, err := task.Exec(ctx, fmt.Sprintf("sleep-%t", privileges), spec.Process, cio.NullIO)
		must(t, err)
		must(t, p.Start(ctx))
		own, command := filterOf(t, int(task.Pid())), filterOf(t, int(p.Pid()))
		// What libcontainer puts before it goes through the architectures in any order.
		if same := commonEnd(own, command); len(own) != len(command) || len(own)-same > 3*perArchitecture {
			t.Errorf("the container's filter has %d bytes, a command's %d, of which the last %d are the same", len(own), len(command), same)
		}
		must(t, p.Kill(ctx, unix.SIGKILL))
		out, code := execute(ctx, t, task, spec.Process, fmt.Sprintf("files-%t", privileges), false, "", "ls /proc/self/fd | tr '\n' ' '")
		if code != 0 || strings.TrimSpace(out) != "0 1 2 3" { // 3 is the directory that ls reads
			t.Errorf("%d: it has these open: %q", code, out)
		}
	}
}

// perArchitecture is how long libcontainer's own part of a filter is at most for one of three architectures, in bytes.
const perArchitecture = 20 * 8

func commonEnd(a, b []byte) (n int) {
	for n < min(len(a), len(b)) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// filterOf is what the kernel has as the seccomp filter of a process.
func filterOf(t *testing.T, pid int) []byte {
	t.Helper()
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	must(t, unix.PtraceAttach(pid))
	defer func() { _ = unix.PtraceDetach(pid) }()
	var status unix.WaitStatus
	_, err := unix.Wait4(pid, &status, unix.WALL, nil)
	must(t, err)
	get := func(to unsafe.Pointer) int {
		n, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SECCOMP_GET_FILTER, uintptr(pid), 0, uintptr(to), 0, 0)
		if errno != 0 {
			t.Fatalf("the filter of %d: %v", pid, errno)
		}
		return int(n)
	}
	program := make([]unix.SockFilter, get(nil))
	get(unsafe.Pointer(&program[0]))
	return unsafe.Slice((*byte)(unsafe.Pointer(&program[0])), len(program)*int(unsafe.Sizeof(program[0])))
}

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/test/containerdenv"
	"miniplane.dev/miniplane/test/slow"
)

// newTest makes a manager and the spec of a sandbox for it, and checks at the end that nothing is left.
func newTest(t testing.TB) (*manager, Spec) {
	t.Helper()
	containerdenv.RequireRoot(t)
	opts := Options{StateDir: t.TempDir(), PauseBinary: containerdenv.PauseBinary(t)}
	m, err := newManager(opts)
	if err != nil {
		t.Fatal(err)
	}
	parent := fmt.Sprintf("/miniplane-sandbox-test-%d", os.Getpid())
	spec := Spec{PodUID: "0a1b-uid", Hostname: "web-0", CgroupPath: parent + "/pod0a1b-uid", MaxPIDs: 77, CPUMillis: 500}
	t.Cleanup(func() {
		m.after = func(string) error { return nil }
		if err := m.Remove(context.Background(), spec.PodUID); err != nil {
			t.Error(err)
		}
		if err := cgroup.Remove(context.Background(), parent); err != nil {
			t.Error(err)
		}
		if err := Cleanup(opts.StateDir); err != nil {
			t.Error(err)
		}
		mounts, _ := os.ReadFile("/proc/self/mountinfo")
		if strings.Contains(string(mounts), opts.StateDir) {
			t.Errorf("mounts left below %s", opts.StateDir)
		}
	})
	return m, spec
}

// again is the manager of a new agent on the same state.
func again(t testing.TB, m *manager) *manager {
	t.Helper()
	next, err := newManager(Options{StateDir: filepath.Dir(m.dir), PauseBinary: m.pause})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func ensure(t testing.TB, m *manager, spec Spec) Sandbox {
	t.Helper()
	s, err := m.Ensure(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// in runs a shell command inside a sandbox's namespaces.
func in(t *testing.T, s Sandbox, command string) string {
	t.Helper()
	out, err := exec.Command("nsenter", "--net="+s.Namespaces.Net, "--ipc="+s.Namespaces.IPC, "--uts="+s.Namespaces.UTS,
		"sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestEnsure(t *testing.T) {
	m, spec := newTest(t)
	s := ensure(t, m, spec)

	if got := in(t, s, "hostname"); got != "web-0" {
		t.Errorf("host name %q", got)
	}
	if got := in(t, s, "cat /sys/class/net/lo/operstate; ip -o addr show lo"); !strings.Contains(got, "127.0.0.1/8") {
		t.Errorf("loopback: %s", got)
	}
	if got := in(t, s, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"); got != "0\n0\t2147483647" {
		t.Errorf("sysctls %q", got)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PausePID))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Name:\tpause", "Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534",
		"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Groups:\t \n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("status of the pause lacks %q:\n%s", want, status)
		}
	}
	if sid, err := syscall.Getpgid(s.PausePID); err != nil || sid != s.PausePID {
		t.Errorf("the pause is in the session of %d, %v", sid, err)
	}
	for deadline := time.Now().Add(slow.By(10 * time.Second)); ; time.Sleep(time.Millisecond) { // it closes them after it has answered
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.PausePID))
		if len(files) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the pause holds %v", files)
		}
	}
	groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.PausePID))
	for line := range strings.Lines(string(groups)) {
		if !strings.HasSuffix(strings.TrimSpace(line), pauseCgroup(spec.CgroupPath)) {
			t.Errorf("the pause is in %s", line)
		}
	}
	if err := os.WriteFile(filepath.Join(s.SharedMemory, "x"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	// The room for files has an end of its own, and what runs in the sandbox is counted.
	if err := os.WriteFile(filepath.Join(s.Files, "hosts"), make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("2 MiB among the files: %v", err)
	}
	if got := setting(t, spec.CgroupPath, "cpu.shares", "cpu.weight"); got != "512" && got != "20" {
		t.Errorf("the weight of half a cpu is %s, not 512 shares or weight 20", got)
	}
	if got := setting(t, spec.CgroupPath, "pids.max"); got != "77" {
		t.Errorf("the MiniPod may have %s processes", got)
	}
	if diff := cmp.Diff(s, ensure(t, m, spec)); diff != "" {
		t.Errorf("the second time (-first +second):\n%s", diff)
	}
	list, err := again(t, m).List(t.Context())
	if diff := cmp.Diff([]Sandbox{s}, list); diff != "" || err != nil {
		t.Errorf("list of a new agent, %v (-want +got):\n%s", err, diff)
	}
}

// setting is what a file of a cgroup says, whichever hierarchy and version has it.
func setting(t *testing.T, path string, files ...string) string {
	t.Helper()
	for _, file := range files {
		for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"} {
			if text, err := os.ReadFile(filepath.Join(root, path, file)); err == nil {
				return strings.TrimSpace(string(text))
			}
		}
	}
	t.Fatalf("no %s of %s", files, path)
	return ""
}

// TestOfAnEarlierVersion: a sandbox that was made without room for files gets it, and keeps what it has.
func TestOfAnEarlierVersion(t *testing.T) {
	m, spec := newTest(t)
	first := ensure(t, m, spec)
	if err := syscall.Unmount(first.Files, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first.Files); err != nil {
		t.Fatal(err)
	}
	m = again(t, m)
	if list, err := m.List(t.Context()); err != nil || len(list) != 1 || list[0].Files != "" {
		t.Errorf("%+v, %v", list, err)
	}
	if diff := cmp.Diff(first, ensure(t, m, spec)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestRemove(t *testing.T) {
	m, spec := newTest(t)
	s := ensure(t, m, spec)
	m = again(t, m)
	if err := m.Remove(t.Context(), spec.PodUID); err != nil {
		t.Fatal(err)
	}
	if _, alive := startTime(s.PausePID); alive {
		t.Error("the pause lives")
	}
	if cgroup.Exists(spec.CgroupPath) {
		t.Error("the cgroup is there")
	}
	if list, err := m.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
	if err := m.Remove(t.Context(), spec.PodUID); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// TestKilledAfterAnyStep: the agent dies after each step in turn; a new one completes what it left, or removes it.
func TestKilledAfterAnyStep(t *testing.T) {
	var steps []string
	m, spec := newTest(t)
	m.after = func(step string) error { steps = append(steps, step); return nil }
	ensure(t, m, spec)
	m.after = func(string) error { return nil }
	if err := m.Remove(t.Context(), spec.PodUID); err != nil {
		t.Fatal(err)
	}
	if len(steps) < 12 {
		t.Fatalf("steps: %v", steps)
	}
	for _, last := range steps {
		t.Run("ensure after "+last, func(t *testing.T) {
			m, spec := stopAfter(t, last)
			s := ensure(t, m, spec)
			if got := in(t, s, "hostname"); got != "web-0" || s.SharedMemory == "" || s.Files == "" || setting(t, spec.CgroupPath, "pids.max") != "77" {
				t.Errorf("%+v, host name %q", s, got)
			}
			if pids := cgroup.PIDs(pauseCgroup(spec.CgroupPath)); !cmp.Equal(pids, []int{s.PausePID}) {
				t.Errorf("processes in the cgroup: %v, the pause is %d", pids, s.PausePID)
			}
		})
		t.Run("remove after "+last, func(t *testing.T) {
			m, spec := stopAfter(t, last)
			if err := m.Remove(t.Context(), spec.PodUID); err != nil {
				t.Fatal(err)
			}
			if list, err := m.List(t.Context()); err != nil || len(list) != 0 || cgroup.Exists(spec.CgroupPath) {
				t.Errorf("list %v, %v, cgroup %t", list, err, cgroup.Exists(spec.CgroupPath))
			}
		})
	}
}

// TestKilledWhileItIsRemoved: the agent dies after each step of the removal; the next one still knows of the sandbox, and removes the rest of it, or makes it again.
func TestKilledWhileItIsRemoved(t *testing.T) {
	var steps []string
	m, spec := newTest(t)
	spec.Shape = Shape{SharePIDs: true}
	ensure(t, m, spec)
	m.after = func(step string) error { steps = append(steps, step); return nil }
	if err := m.Remove(t.Context(), spec.PodUID); err != nil {
		t.Fatal(err)
	}
	if len(steps) < 7 {
		t.Fatalf("steps: %v", steps)
	}
	for _, last := range steps {
		for _, remakes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, made again %t", last, remakes), func(t *testing.T) {
				m, spec := newTest(t)
				spec.Shape = Shape{SharePIDs: true}
				first := ensure(t, m, spec)
				m.after = func(step string) error {
					if step == last {
						return errStopped
					}
					return nil
				}
				if err := m.Remove(t.Context(), spec.PodUID); !errors.Is(err, errStopped) {
					t.Fatal(err)
				}
				m.after = func(string) error { return nil }
				next := again(t, m)
				if list, err := next.List(t.Context()); err != nil || len(list) != 1 {
					t.Errorf("the next agent knows of %v, %v", list, err)
				}
				if remakes {
					if s := ensure(t, next, spec); s.PausePID == 0 || s.PausePID == first.PausePID || in(t, s, "hostname") != "web-0" {
						t.Errorf("made again: %+v", s)
					}
				}
				if err := next.Remove(t.Context(), spec.PodUID); err != nil {
					t.Fatal(err)
				}
				if list, err := next.List(t.Context()); err != nil || len(list) != 0 || cgroup.Exists(spec.CgroupPath) {
					t.Errorf("left: %v, %v, cgroup %t", list, err, cgroup.Exists(spec.CgroupPath))
				}
				if _, alive := startTime(first.PausePID); alive {
					t.Error("the pause lives")
				}
			})
		}
	}
}

// stopAfter lets an agent die after a step and returns the next one's manager. At the end no pause may be left over.
func stopAfter(t *testing.T, last string) (*manager, Spec) {
	t.Helper()
	return stopAfterShape(t, last, Shape{})
}

func stopAfterShape(t *testing.T, last string, shape Shape) (*manager, Spec) {
	t.Helper()
	var m *manager
	t.Cleanup(func() { // runs last
		if m == nil {
			return
		}
		m.reaper.mu.Lock()
		defer m.reaper.mu.Unlock()
		for pid := range m.reaper.children {
			if _, alive := startTime(pid); alive && !waitDead(pid) {
				t.Errorf("pause %d is left", pid)
			}
		}
	})
	m, spec := newTest(t)
	spec.Shape = shape
	m.after = func(step string) error {
		if step == last {
			return errStopped
		}
		return nil
	}
	if _, err := m.Ensure(t.Context(), spec); !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	return again(t, m), spec
}

// TestPauseDies: the namespaces stay the same ones without it, and the next pause joins them.
func TestPauseDies(t *testing.T) {
	m, spec := newTest(t)
	first := ensure(t, m, spec)
	in(t, first, "ip link add probe type veth peer name probe2")
	if err := syscall.Kill(first.PausePID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitDead(first.PausePID)
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 || list[0].PausePID != 0 || list[0].Namespaces != first.Namespaces {
		t.Errorf("list %+v, %v", list, err)
	}
	second := ensure(t, m, spec)
	if second.PausePID == first.PausePID || second.PausePID == 0 {
		t.Errorf("pause %d after %d", second.PausePID, first.PausePID)
	}
	if got := in(t, second, "hostname; ip -o link show probe"); !strings.Contains(got, "web-0") || !strings.Contains(got, "probe") {
		t.Errorf("in the sandbox: %s", got)
	}
	for _, name := range []string{"net", "ipc", "uts"} {
		own, _ := os.Stat(fmt.Sprintf("/proc/%d/ns/%s", second.PausePID, name))
		pinned, _ := os.Stat(filepath.Join(m.dir, spec.PodUID, name))
		if !os.SameFile(own, pinned) {
			t.Errorf("the new pause is in another %s namespace than the pinned one", name)
		}
	}
}

// TestIdentity: a sandbox has one as long as its namespaces are the same, whoever looks, and another one never has the same.
func TestIdentity(t *testing.T) {
	m, spec := newTest(t)
	first := ensure(t, m, spec)
	same := func(what string, s Sandbox) {
		t.Helper()
		if s.ID == "" || s.ID != first.ID {
			t.Errorf("%s: %q, was %q", what, s.ID, first.ID)
		}
	}
	for range 2 { // the second pause, and one after it
		s := ensure(t, m, spec)
		same("again", s)
		if err := syscall.Kill(s.PausePID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitDead(s.PausePID)
		list, err := again(t, m).List(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("list %+v, %v", list, err)
		}
		same("without a pause", list[0])
		same("with another pause", ensure(t, m, spec))
	}
	if err := syscall.Unmount(filepath.Join(m.dir, spec.PodUID, "net"), syscall.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	same("with a pin that was lost", ensure(t, m, spec))
	if err := m.Remove(t.Context(), spec.PodUID); err != nil {
		t.Fatal(err)
	}
	if other := ensure(t, m, spec); other.ID == first.ID {
		t.Errorf("another sandbox is %q too", other.ID)
	}
}

// waitDead waits until a process is gone or a zombie.
func waitDead(pid int) bool {
	for deadline := time.Now().Add(slow.By(10 * time.Second)); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, alive := startTime(pid); !alive {
			return true
		}
	}
	return false
}

// TestRecycledPID: another process that came to have the recorded PID is neither taken for the pause nor killed.
func TestRecycledPID(t *testing.T) {
	m, spec := newTest(t)
	s := ensure(t, m, spec)
	if err := syscall.Kill(s.PausePID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitDead(s.PausePID)
	file := filepath.Join(m.dir, spec.PodUID, "pause.json")
	var record process
	if err := readJSON(file, &record); err != nil {
		t.Fatal(err)
	}
	stranger := startedLater(t, record.StartTime)
	record.PID = stranger.Process.Pid
	if err := writeJSON(file, record); err != nil {
		t.Fatal(err)
	}
	if next := ensure(t, m, spec); next.PausePID == stranger.Process.Pid {
		t.Error("a stranger was taken for the pause")
	}
	if err := writeJSON(file, record); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(t.Context(), spec.PodUID); err != nil {
		t.Fatal(err)
	}
	if _, alive := startTime(stranger.Process.Pid); !alive {
		t.Error("a stranger was killed")
	}
}

// startedLater is a process with another start time than the given one: the kernel counts hundredths of a second.
func startedLater(t *testing.T, than uint64) *exec.Cmd {
	t.Helper()
	for {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if start, alive := startTime(cmd.Process.Pid); alive && start != than {
			return cmd
		}
	}
}

func TestLostPin(t *testing.T) {
	m, spec := newTest(t)
	s := ensure(t, m, spec)
	if err := syscall.Unmount(s.Namespaces.Net, 0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, ensure(t, m, spec)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	m, good := newTest(t)
	for name, change := range map[string]func(*Spec){
		"path as UID":     func(s *Spec) { s.PodUID = "../x" },
		"no UID":          func(s *Spec) { s.PodUID = "" },
		"no host name":    func(s *Spec) { s.Hostname = "" },
		"long host name":  func(s *Spec) { s.Hostname = strings.Repeat("a", 65) },
		"relative cgroup": func(s *Spec) { s.CgroupPath = "miniplane" },
	} {
		spec := good
		change(&spec)
		if _, err := m.Ensure(t.Context(), spec); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := m.Remove(t.Context(), ".."); !errdefs.IsInvalidArgument(err) {
		t.Errorf("remove of a path: %v", err)
	}
	if _, err := New(Options{StateDir: t.TempDir(), PauseBinary: "/nonexistent"}); err == nil {
		t.Error("no pause binary, no error")
	}
}

func BenchmarkSandbox(b *testing.B) {
	m, spec := newTest(b)
	for i := 0; b.Loop(); i++ {
		s := spec
		s.PodUID = fmt.Sprintf("uid%d", i)
		s.CgroupPath = filepath.Join(filepath.Dir(spec.CgroupPath), "pod"+s.PodUID)
		ensure(b, m, s)
		b.StopTimer()
		if err := m.Remove(context.Background(), s.PodUID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

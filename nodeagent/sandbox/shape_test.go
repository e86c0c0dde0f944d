package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// ns is a namespace of a process, or of this one where it is 0, or what is pinned at a path.
func ns(t *testing.T, pid any, name string) string {
	t.Helper()
	if path, isPath := pid.(string); isPath {
		var stat syscall.Stat_t
		if err := syscall.Stat(path, &stat); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s:[%d]", name, stat.Ino)
	}
	self := fmt.Sprint(pid)
	if pid == 0 {
		self = "self"
	}
	link, err := os.Readlink("/proc/" + self + "/ns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

var shapes = map[string]Shape{
	"the node's network":                       {HostNetwork: true},
	"the node's IPC":                           {HostIPC: true},
	"the node's network and IPC":               {HostNetwork: true, HostIPC: true},
	"shared PIDs":                              {SharePIDs: true},
	"shared PIDs in the node's network":        {SharePIDs: true, HostNetwork: true},
	"shared PIDs in the node's network, IPC":   {SharePIDs: true, HostNetwork: true, HostIPC: true},
	"shared PIDs, the node's IPC, own network": {SharePIDs: true, HostIPC: true},
}

// A sandbox has the namespaces that its shape says, and changes nothing of those of the node; also with a new pause, and for a new agent.
func TestShapes(t *testing.T) {
	settings := func() string {
		text, _ := exec.Command("sh", "-c", "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range; ls /proc /sys/class/net | grep -v '^[0-9]'").Output()
		return string(text)
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			m, spec := newTest(t)
			spec.Shape = shape
			before := settings()
			check := func(s Sandbox) {
				t.Helper()
				for of, path := range map[string]string{"net": s.Namespaces.Net, "ipc": s.Namespaces.IPC, "uts": s.Namespaces.UTS, "pid": s.Namespaces.PID} {
					host := of == "ipc" && shape.HostIPC || of != "ipc" && of != "pid" && shape.HostNetwork
					if of == "pid" && !shape.SharePIDs {
						if path != "" {
							t.Errorf("a PID namespace is pinned at %s", path)
						}
						continue
					}
					if pinned := ns(t, path, of); pinned != ns(t, s.PausePID, of) || (pinned == ns(t, 0, of)) != host {
						t.Errorf("%s is %s, the pause's is %s, the node's %s", of, pinned, ns(t, s.PausePID, of), ns(t, 0, of))
					}
				}
				if now := settings(); now != before {
					t.Errorf("of the node this is so now: %s\nbefore: %s", now, before)
				}
				if s.Shape != shape || s.Files == "" || s.SharedMemory == "" {
					t.Errorf("%+v", s)
				}
			}
			first := ensure(t, m, spec)
			check(first)
			if diff := cmp.Diff(first, ensure(t, again(t, m), spec)); diff != "" {
				t.Errorf("for a new agent (-first +second):\n%s", diff)
			}
			list, err := again(t, m).List(t.Context())
			if diff := cmp.Diff([]Sandbox{first}, list); diff != "" || err != nil {
				t.Errorf("list: %v\n%s", err, diff)
			}
			if err := syscall.Kill(first.PausePID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			waitDead(first.PausePID)
			second := ensure(t, m, spec)
			check(second)
			if second.ID != first.ID || second.PausePID == first.PausePID {
				t.Errorf("%+v after %+v", second, first)
			}
			if err := syscall.Unmount(filepath.Join(m.dir, spec.PodUID, "ipc"), syscall.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			check(ensure(t, m, spec))
			if err := m.Remove(t.Context(), spec.PodUID); err != nil {
				t.Fatal(err)
			}
			if _, alive := startTime(second.PausePID); alive || settings() != before {
				t.Errorf("the pause lives: %t; of the node this is so now: %s", alive, settings())
			}
		})
	}
}

// Whoever shares PIDs sees a first process that has nothing to offer: no root directory, no file, no signals from inside, no program that can be
// written to. It collects what others orphan.
func TestFirstProcess(t *testing.T) {
	m, spec := newTest(t)
	spec.SharePIDs = true
	s := ensure(t, m, spec)
	proc := fmt.Sprintf("/proc/%d", s.PausePID)
	if entries, err := os.ReadDir(proc + "/root"); err != nil || len(entries) != 0 {
		t.Errorf("its root directory has %v, %v", entries, err)
	}
	if _, err := os.Stat(proc + "/root/../etc"); err == nil {
		t.Error("a way leads out of its root directory")
	}
	if entries, err := os.ReadDir(proc + "/cwd"); err != nil || len(entries) != 0 {
		t.Errorf("it is in a directory that has %v, %v", entries, err)
	}
	if err := os.WriteFile(proc+"/root/x", nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing to its root directory: %v", err)
	}
	if mounts, _ := os.ReadFile(proc + "/mountinfo"); strings.Count(string(mounts), "\n") != 1 {
		t.Errorf("it sees\n%s", mounts)
	}
	if name, _ := os.ReadFile(proc + "/comm"); string(name) != "pause\n" {
		t.Errorf("it is called %q", name)
	}
	inside := func(script string) string {
		t.Helper()
		out, err := exec.Command("nsenter", "--pid="+s.Namespaces.PID, "unshare", "-m", "sh", "-c", "mount -t proc proc /proc; "+script).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	inside("kill -TERM 1; kill -INT 1; kill -KILL 1; kill -HUP 1; sh -c 'sleep 0.2 & exit' ; sleep 1; ! grep -l '^State:.Z' /proc/[0-9]*/status")
	if start, alive := startTime(s.PausePID); !alive || start == 0 {
		t.Error("it was ended from inside")
	}
	// Its file is opened while it runs, and written to when it does not.
	file, err := os.Open(proc + "/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := m.Remove(t.Context(), spec.PodUID); err != nil {
		t.Fatal(err)
	}
	if f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), os.O_WRONLY|os.O_TRUNC, 0); err == nil {
		if _, err := f.WriteString("x"); err == nil {
			t.Error("its program can be written to")
		}
	}
}

// TestShapesKilledAfterAnyStep: as TestKilledAfterAnyStep, for the shape that has the most.
func TestShapesKilledAfterAnyStep(t *testing.T) {
	shape := Shape{HostNetwork: true, SharePIDs: true}
	var steps []string
	m, spec := newTest(t)
	spec.Shape = shape
	m.after = func(step string) error { steps = append(steps, step); return nil }
	ensure(t, m, spec)
	m.after = func(string) error { return nil }
	if err := m.Remove(t.Context(), spec.PodUID); err != nil {
		t.Fatal(err)
	}
	if len(steps) < 12 || !slices.Contains(steps, "pin pid") || !slices.Contains(steps, "pin net") {
		t.Fatalf("steps: %v", steps)
	}
	for _, last := range steps {
		for what, end := range map[string]func(*testing.T, *manager, Spec){
			"ensure": func(t *testing.T, m *manager, spec Spec) {
				s := ensure(t, m, spec)
				if pids := cgroup.PIDs(pauseCgroup(spec.CgroupPath)); !cmp.Equal(pids, []int{s.PausePID}) {
					t.Errorf("processes in the cgroup: %v, the pause is %d", pids, s.PausePID)
				}
			},
			"remove": func(t *testing.T, m *manager, spec Spec) {
				if err := m.Remove(t.Context(), spec.PodUID); err != nil {
					t.Fatal(err)
				}
				if list, err := m.List(t.Context()); err != nil || len(list) != 0 {
					t.Errorf("list %v, %v", list, err)
				}
			},
		} {
			t.Run(what+" after "+last, func(t *testing.T) {
				m, spec := stopAfterShape(t, last, shape)
				end(t, m, spec)
			})
		}
	}
}

// An agent that does not know shapes takes the sandbox for none, never for one in a network of its own: it would give the node's network a MiniPod's
// address. What it makes instead, and what it removes, is whole; and so is what comes after it.
func TestOfALaterVersion(t *testing.T) {
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			m, spec := newTest(t)
			plain := spec
			spec.Shape = shape
			first := ensure(t, m, spec)
			dir := filepath.Join(m.dir, spec.PodUID)
			if _, err := os.Stat(filepath.Join(dir, "pause.json")); (err == nil) == shape.HostNetwork {
				t.Errorf("an earlier version sees a record: %t", err == nil)
			}
			for _, of := range []string{"net", "uts"} {
				if path := filepath.Join(dir, of); shape.HostNetwork && isType(path, 0x6e736673) {
					t.Errorf("an earlier version sees %s", path)
				}
			}
			if !shape.HostNetwork {
				return
			}
			// What the earlier version does: it makes one of its own beside it, with a record of its own.
			if err := os.Rename(filepath.Join(dir, "host.json"), filepath.Join(dir, "aside")); err != nil {
				t.Fatal(err)
			}
			old := ensure(t, m, plain)
			if ns(t, old.Namespaces.Net, "net") == ns(t, 0, "net") {
				t.Fatal("it is in the node's network")
			}
			if err := os.Rename(filepath.Join(dir, "aside"), filepath.Join(dir, "host.json")); err != nil {
				t.Fatal(err)
			}
			again := ensure(t, m, spec)
			if again.PausePID != first.PausePID || again.Shape != shape || ns(t, again.Namespaces.Net, "net") != ns(t, 0, "net") {
				t.Errorf("%+v after %+v", again, first)
			}
			if _, alive := startTime(old.PausePID); alive {
				t.Error("the earlier version's pause lives")
			}
		})
	}
}

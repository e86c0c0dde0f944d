package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/test/slow"
)

func TestParseMount(t *testing.T) {
	for line, want := range map[string]hierarchy{
		"30 23 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory":      {root: "/sys/fs/cgroup/memory", device: "0:26", memory: true},
		"30 23 0:26 / /sys/fs/cgroup/cpuset rw,nosuid - cgroup cgroup rw,cpuset":               {root: "/sys/fs/cgroup/cpuset", device: "0:26", cpuset: true},
		"24 23 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,memory_recursive": {root: "/sys/fs/cgroup", device: "0:21", v2: true, memory: true},
	} {
		if got, ok := parseMount(line); !ok || got != want {
			t.Errorf("%q: %+v, %t", line, got, ok)
		}
	}
	for _, line := range []string{"", "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw", "no separator in this line at all x y z"} {
		if got, ok := parseMount(line); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

// A hierarchy that is mounted again, below itself, is one.
func TestParseMounts(t *testing.T) {
	got := parseMounts(strings.NewReader(`
30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 30 0:26 /kubelet /sys/fs/cgroup/memory/kubelet rw - cgroup cgroup rw,memory
33 23 0:27 /kubelet /sys/fs/cgroup/cpuset/kubelet rw - cgroup cgroup rw,cpuset
32 23 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
34 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`))
	var roots []string
	for _, h := range got {
		roots = append(roots, h.root)
	}
	want := []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/unified"}
	if diff := cmp.Diff(want, roots); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCgroup(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI must give it")
		}
		t.Skip("SKIPPED: needs root")
	}
	parent := fmt.Sprintf("/miniplane-cgroup-test-%d", os.Getpid())
	path := parent + "/pod1/c1"
	t.Cleanup(func() {
		if err := Remove(context.Background(), parent); err != nil {
			t.Error(err)
		}
	})
	for range 2 { // the second time all is there
		if err := Create(path); err != nil {
			t.Fatal(err)
		}
	}
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sleeper.Wait() }()
	if err := Enter(path, sleeper.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{sleeper.Process.Pid}, PIDs(path)); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	for _, above := range []string{parent, path} {
		members, err := Members(above)
		if diff := cmp.Diff([]int{sleeper.Process.Pid}, members); diff != "" || err != nil {
			t.Errorf("processes in %s and below: %v (-want +got):\n%s", above, err, diff)
		}
	}
	if n := OOMKills(path); n != 0 {
		t.Errorf("%d OOM kills", n)
	}
	if err := Remove(t.Context(), parent); err != nil {
		t.Fatal(err)
	}
	if Exists(parent) {
		t.Error("it exists after Remove")
	}
	if members, err := Members(path); err != nil || len(members) > 0 {
		t.Errorf("processes of none: %v, %v", members, err)
	}
	if err := <-ended; err == nil {
		t.Error("the process ended by itself")
	}
	if err := Remove(t.Context(), parent); err != nil {
		t.Errorf("the second time: %v", err)
	}
	for _, bad := range []string{"/", "", "relative", "/../"} {
		if err := Remove(t.Context(), bad); err == nil {
			t.Errorf("%q was removed", bad)
		}
	}
}

// Somebody else has made the parents, and was killed before it gave them CPUs: a cpuset below is usable all the same.
// TestUnmake: what was made is taken back, and nothing that was there before or is used meanwhile.
func TestUnmake(t *testing.T) {
	top := "/miniplane-test-unmake-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() {
		if err := Remove(context.Background(), top); err != nil {
			t.Error(err)
		}
	})
	if err := Create(top); err != nil {
		t.Fatal(err)
	}
	made, err := Make(top + "/pod/container")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Make(top + "/pod/container"); err != nil || len(again) != 0 {
		t.Errorf("made again: %v, %v", again, err)
	}
	other, err := Make(top + "/pod/other")
	if err != nil {
		t.Fatal(err)
	}
	Unmake(made)
	if Exists(top+"/pod/container") || !Exists(top+"/pod/other") {
		t.Error("not what was made is gone, or another's")
	}
	Unmake(append(made, other...))
	if Exists(top+"/pod") || !Exists(top) {
		t.Error("not what was made is gone, or what was there before")
	}
}

func TestCreateBelowBareParents(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI must give it")
		}
		t.Skip("SKIPPED: needs root")
	}
	parent := fmt.Sprintf("/miniplane-cgroup-test-bare-%d", os.Getpid())
	path := parent + "/node/pause"
	t.Cleanup(func() {
		if err := Remove(context.Background(), parent); err != nil {
			t.Error(err)
		}
	})
	for _, h := range hierarchies() {
		if err := os.MkdirAll(h.root+path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() })
	if err := Enter(path, sleeper.Process.Pid); err != nil {
		t.Error(err)
	}
}

// What is in a cgroup ends with it at once, also what no list shows: here a bomb in which each process starts the next and ends, and
// which is outside of the PID namespace of who removes the cgroup. By the list, which has zeros for it, nothing of it could be killed;
// on a machine that is fast enough for it, a bomb that is listed is outrun now and then.
func TestRemoveWhileForking(t *testing.T) {
	if path := os.Getenv(removeHere); path != "" {
		ctx, cancel := context.WithTimeout(t.Context(), slow.By(20*time.Second))
		defer cancel()
		if err := Remove(ctx, path); err != nil {
			t.Error(err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	path := fmt.Sprintf("/miniplane-forking-test-%d", os.Getpid())
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Remove(context.Background(), path) })
	if _, err := os.Stat(filepath.Join(hierarchies()[0].root, path, "cgroup.kill")); err != nil {
		t.Skip("SKIPPED: needs a kernel that kills cgroups (v2, since 5.14); hack/vm has one")
	}
	bomb := exec.Command("sh", "-c", "read go; f() { f & }; i=0; while [ $i -lt 8 ]; do f; i=$((i+1)); done; exec sleep 1000")
	in, err := bomb.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bomb.Start(); err != nil {
		t.Fatal(err)
	}
	if err := Enter(path, bomb.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	remover := exec.Command(os.Args[0], "-test.run=^TestRemoveWhileForking$")
	remover.Env = append(os.Environ(), removeHere+"="+path)
	remover.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if out, err := remover.CombinedOutput(); err != nil {
		t.Errorf("removing it from another PID namespace: %v: %s", err, out)
	}
	if Exists(path) {
		t.Errorf("it is still there, with processes %v", PIDs(path))
		_ = bomb.Process.Kill()
	}
	_ = bomb.Wait() // which ended by a signal, with all that it started
}

// removeHere names the cgroup that a process of this test is to remove, and do nothing else.
const removeHere = "MINIPLANE_TEST_REMOVE_CGROUP"

//go:build linux && cgo

package guard

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// TestDoors: a command that is given doors is in the cgroup in every hierarchy that has one when it begins, with all its threads, and nobody
// else is. What cannot be entered ends it.
func TestDoors(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI must give it")
		}
		t.Skip("SKIPPED: needs root")
	}
	path := "/miniplane-test-doors-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() {
		if err := cgroup.Remove(context.Background(), path); err != nil {
			t.Error(err)
		}
	})
	if err := cgroup.Create(path); err != nil {
		t.Fatal(err)
	}
	legacy := len(cgroup.Legacy())
	enter := func(kind string, more ...*os.File) (string, error) {
		doors, err := cgroup.Doors(path)
		if err != nil || len(doors) != legacy {
			t.Fatalf("%d doors, %d hierarchies: %v", len(doors), legacy, err)
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "GUARD_TEST_WHERE=1", "_LIBCONTAINER_INITTYPE="+kind)
		cmd.ExtraFiles = append(doors, more...)
		out, err := cmd.CombinedOutput()
		for _, door := range doors {
			_ = door.Close()
		}
		return string(out), err
	}
	null, err := os.Open(os.DevNull) // what is no door is left alone
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, more := range [][]*os.File{nil, {null}} {
		out, err := enter("setns", more...)
		groups := strings.Count(out, "thread\n")
		if err != nil || groups < 2 || strings.Count(out, ":"+path+"\n") != legacy*groups {
			t.Errorf("%d hierarchies, %d threads: %v: %s", legacy, groups, err, out)
		}
	}
	if out, err := enter("standard"); err != nil || strings.Contains(out, path) { // an init is born in its place
		t.Errorf("%v: %s", err, out)
	}
	if own, err := os.ReadFile("/proc/self/cgroup"); err != nil || strings.Contains(string(own), path) {
		t.Errorf("who gave the doors is inside: %s, %v", own, err)
	}
	if legacy == 0 {
		return
	}
	locked, err := os.Open(cgroup.Legacy()[0] + path + "/tasks") // not for writing
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	if out, err := enter("setns", locked); err == nil || !strings.Contains(out, "enter a cgroup") {
		t.Errorf("%v: %s", err, out)
	}
}

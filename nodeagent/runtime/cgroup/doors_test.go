package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// enterHere makes TestDoors the process that is given the doors.
const enterHere = "CGROUP_TEST_ENTER"

// TestDoors: who is given them is in the cgroup in every hierarchy that has a door, and nobody else.
func TestDoors(t *testing.T) {
	if os.Getenv(enterHere) != "" {
		runtime.LockOSThread()
		err := Enters(3)
		own, readErr := os.ReadFile("/proc/thread-self/cgroup")
		fmt.Printf("entered: %v %v\n%s", err, readErr, own)
		os.Exit(0)
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI must give it")
		}
		t.Skip("SKIPPED: needs root")
	}
	path := "/miniplane-test-doors-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() {
		if err := Remove(context.Background(), path); err != nil {
			t.Error(err)
		}
	})
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	legacy := len(Legacy())
	enter := func(more ...*os.File) string {
		doors, err := Doors(path)
		if err != nil || len(doors) != legacy {
			t.Fatalf("%d doors, %d hierarchies: %v", len(doors), legacy, err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestDoors$")
		cmd.Env = append(os.Environ(), enterHere+"=1")
		cmd.ExtraFiles = append(doors, more...)
		out, err := cmd.CombinedOutput()
		for _, door := range doors {
			_ = door.Close()
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	null, err := os.Open(os.DevNull) // what is no door is left alone
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, out := range []string{enter(), enter(null)} {
		if !strings.HasPrefix(out, "entered: <nil> <nil>\n") || strings.Count(out, ":"+path+"\n") != legacy {
			t.Errorf("%d hierarchies: %s", legacy, out)
		}
	}
	if own, err := os.ReadFile("/proc/self/cgroup"); err != nil || strings.Contains(string(own), path) {
		t.Errorf("who gave the doors is inside: %s, %v", own, err)
	}
	if doors, err := Doors(path + "/none"); legacy > 0 && err == nil || len(doors) > 0 {
		t.Errorf("doors of no cgroup: %v, %v", doors, err)
	}
}

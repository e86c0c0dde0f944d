package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A bomb of processes goes as far as its own cgroup, and as the one above all, and no further.
func TestLimitPIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI must give it")
		}
		t.Skip("SKIPPED: needs root")
	}
	lane := fmt.Sprintf("/miniplane-pids-test-%d", os.Getpid())
	t.Cleanup(func() {
		if err := Remove(context.Background(), lane); err != nil {
			t.Error(err)
		}
	})
	for name, most := range map[string]int64{"pod1": 20, "pod2": 0} {
		if err := Create(lane + "/" + name); err != nil {
			t.Fatal(err)
		}
		if err := LimitPIDs(lane+"/"+name, most); err != nil {
			t.Fatal(err)
		}
	}
	if err := LimitPIDs(lane, 50); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pod1", "pod2"}, Children(lane)); diff != "" {
		t.Errorf("children (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		name       string
		lane, here int64 // processes when all of the bomb is there
	}{{"pod1", 20, 20}, {"pod2", 50, 31}} {
		// The shell says how many of its children came to life.
		bomb := exec.Command("sh", "-c", "read go; i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done")
		go_, err := bomb.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := bomb.Start(); err != nil {
			t.Fatal(err)
		}
		if err := Enter(lane+"/"+tc.name, bomb.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if _, err := go_.Write([]byte("go\n")); err != nil {
			t.Fatal(err)
		}
		_ = bomb.Wait() // it fails, as it cannot fork
		// The shell, which cannot fork any more, is gone: one less.
		if n, err := PIDCount(lane + "/" + tc.name); err != nil || n != tc.here-1 {
			t.Errorf("%s has %d processes, %v, want %d", tc.name, n, err, tc.here-1)
		}
		if n, err := PIDCount(lane); err != nil || n > tc.lane {
			t.Errorf("the lane has %d processes, %v, and may have %d", n, err, tc.lane)
		}
	}
	if err := Remove(t.Context(), lane); err != nil {
		t.Fatal(err)
	}
	if _, err := PIDCount(lane); err == nil || !strings.Contains(err.Error(), lane) {
		t.Errorf("the count of a cgroup that is not there: %v", err)
	}
}

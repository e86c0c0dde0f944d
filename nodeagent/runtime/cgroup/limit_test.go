package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWeight(t *testing.T) {
	for millis, want := range map[int64][2]string{
		0: {"1024", "100"}, 1: {"2", "1"}, 500: {"512", "20"}, 1000: {"1024", "39"}, 2000: {"2048", "79"}, 1 << 40: {"262144", "10000"},
	} {
		s := weight(millis)
		if diff := cmp.Diff(want, [2]string{s.v1.value, s.v2.value}); diff != "" {
			t.Errorf("%d thousandths of a cpu (-want +got):\n%s", millis, diff)
		}
	}
}

// read is the content of a cgroup's file in the hierarchy that has it: the first name is cgroup v1's, the second v2's.
func read(t *testing.T, path string, names ...string) string {
	t.Helper()
	for _, h := range hierarchies() {
		for _, name := range names {
			if text, err := os.ReadFile(filepath.Join(h.root, path, name)); err == nil {
				return strings.TrimSpace(string(text))
			}
		}
	}
	t.Fatalf("no hierarchy has any of %v", names)
	return ""
}

func TestSetLimits(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root, and CI must give it")
		}
		t.Skip("SKIPPED: needs root")
	}
	path := fmt.Sprintf("/miniplane-limit-test-%d", os.Getpid())
	t.Cleanup(func() {
		if err := Remove(context.Background(), path); err != nil {
			t.Error(err)
		}
	})
	if err := Create(path + "/pod"); err != nil {
		t.Fatal(err)
	}
	const budget = 256 << 20
	if err := SetLimits(path, Limits{CPUMillis: 500, MemoryBytes: budget, PIDs: 1000}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, "pids.max"); got != "1000" {
		t.Errorf("processes: %s", got)
	}
	if got := read(t, path, "memory.limit_in_bytes", "memory.max"); got != fmt.Sprint(budget) {
		t.Errorf("memory limit is %s, want %d", got, budget)
	}
	if got := read(t, path, "cpu.shares", "cpu.weight"); got != "512" && got != "20" {
		t.Errorf("cpu weight is %s, want 512 shares or weight 20", got)
	}

	// The limit holds for what runs below: a process that takes more is killed, by the kernel.
	hog := exec.Command("sh", "-c", "read go; head -c 400000000 /dev/zero | tail -c 400000000 | wc -c")
	start, err := hog.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	hog.Stdout = &out
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	if err := Enter(path+"/pod", hog.Process.Pid); err != nil {
		t.Fatal(err)
	}
	_, _ = start.Write([]byte("\n"))
	_ = hog.Wait()
	if strings.TrimSpace(out.String()) == "400000000" {
		t.Errorf("a process below the limit of %d bytes held 400 MB", budget)
	}

	// None again, and what is in use is not killed for a limit.
	if err := SetLimits(path, Limits{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, "memory.limit_in_bytes", "memory.max"); got == fmt.Sprint(budget) {
		t.Error("the memory limit stayed")
	}
	user := exec.Command("sh", "-c", `x=$(head -c 20000000 /dev/zero | tr '\0' x); echo ready; read end`)
	in, _ := user.StdinPipe()
	ready, _ := user.StdoutPipe()
	if err := user.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = user.Wait() }()
	if err := Enter(path+"/pod", user.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if err := SetLimits(path, Limits{MemoryBytes: 1 << 20}); !errors.Is(err, ErrInUse) {
		t.Errorf("a limit below what is in use: %v, want ErrInUse", err)
	}
	if got := read(t, path, "memory.limit_in_bytes", "memory.max"); got == fmt.Sprint(1<<20) {
		t.Error("the limit was set all the same")
	}
}

// systemd owns the root of cgroup v2, and takes back there what none of its units needs. Limits stay all the same.
func TestLimitsOutliveSystemd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil || !slices.ContainsFunc(hierarchies(), func(h hierarchy) bool { return h.v2 }) {
		t.Skip("SKIPPED: needs cgroup v2 and systemd; hack/vm has both")
	}
	path := fmt.Sprintf("/miniplane-systemd-test-%d", os.Getpid())
	t.Cleanup(func() {
		if err := Remove(context.Background(), path); err != nil {
			t.Error(err)
		}
	})
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	const budget = 256 << 20
	if err := SetLimits(path, Limits{CPUMillis: 500, MemoryBytes: budget}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
		t.Fatalf("systemctl daemon-reload: %v: %s", err, out)
	}
	// It does it when it next has to do with a unit.
	if out, err := exec.Command("systemd-run", "--wait", "true").CombinedOutput(); err != nil {
		t.Fatalf("systemd-run: %v: %s", err, out)
	}
	if got := read(t, path, "memory.limit_in_bytes", "memory.max"); got != fmt.Sprint(budget) {
		t.Errorf("memory limit is %s, want %d", got, budget)
	}
	if got := read(t, path, "cpu.shares", "cpu.weight"); got != "512" && got != "20" {
		t.Errorf("cpu weight is %s, want 512 shares or weight 20", got)
	}
}

func TestSetLimitsWithoutTheCgroup(t *testing.T) {
	if err := SetLimits("/miniplane-there-is-none", Limits{}); err == nil {
		t.Error("no error where there is no cgroup")
	}
}

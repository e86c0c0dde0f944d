package procs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// proc makes a /proc with processes in it.
func proc(t *testing.T, processes map[int][3]string) Reader {
	t.Helper()
	root := t.TempDir()
	for pid, p := range processes {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		stat := strconv.Itoa(pid) + " (a (strange) name) S 1 1 1 0 -1 0 0 0 0 0 " + p[2] + " 20 0 1 0 77 0 0"
		for name, text := range map[string]string{
			"cgroup": p[0], "cmdline": strings.ReplaceAll(p[1], " ", "\x00"), "stat": stat,
			"smaps_rollup": "5500-7fff ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:   300 kB\nPss_Dirty: 1 kB\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return Reader{Root: root, Cgroups: []string{"/miniplane-local", "/miniplane"}, Workload: []string{"sleep", "424242"}}
}

const (
	inside  = "8:pids:/miniplane-local/daemons-mini-0\n0::/\n"
	lane    = "8:pids:/miniplane/pod1/x\n"
	outside = "8:pids:/miniplane-local-9/daemons\n0::/user.slice\n"
)

func TestRead(t *testing.T) {
	r := proc(t, map[int][3]string{
		100: {inside, "/opt/bin/kubelet --config=x", "100 50 30 20"},
		101: {outside, "/opt/bin/kubelet --config=y", "1 1 1 1"},
		102: {inside, "/opt/containerd-shim-runc-v2 -namespace k8s.io -id a", "0 0 0 0"},
		103: {inside, "/opt/containerd-shim-runc-v2 -namespace miniplane -id b", "0 0 0 0"},
		104: {lane, "sleep 424242", "1 2 0 0"},
		105: {lane, "sleep 5", "0 0 0 0"},
		106: {inside, "/sandbox", "0 0 0 0"},
		107: {lane, "/var/lib/miniplane/pause", "0 0 0 0"},
		108: {inside, "nodeagent --node-name=a", "0 0 0 0"},
		109: {inside, "", "0 0 0 0"},
		110: {inside, "/var/lib/miniplane/bin/shim-5e0434/containerd-shim-miniplane-v1 -namespace miniplane -id 1 serve", "0 0 0 0"},
		111: {inside, "/var/lib/miniplane/bin/pause-26ab17 log /run/miniplane/containers/x/log", "0 0 0 0"},
	})
	table, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	programs := map[int]string{}
	for _, p := range table {
		programs[p.PID] = p.Program
	}
	want := map[int]string{100: Kubelet, 102: NativeShim, 103: MiniShim, 104: Workload, 105: Other, 106: NativePause,
		107: MiniPause, 108: Agent, 110: MiniShim, 111: MiniPause}
	if diff := cmp.Diff(want, programs); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
	if kubelet := table.Of(Kubelet)[0]; kubelet.CPUSeconds != 2 || kubelet.Start != 77 {
		t.Errorf("kubelet: %+v, want 2 s and a start at 77", kubelet)
	}
	memory, err := r.Memory(table, NativeShim, MiniShim, Kubelet)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{NativeShim: 300 << 10, MiniShim: 2 * 300 << 10, Kubelet: 300 << 10}, memory); diff != "" {
		t.Errorf("memory (-want +got):\n%s", diff)
	}
}

// A process that is new counts from its start, one that has ended not at all, and one of the same number is another.
func TestCPUSince(t *testing.T) {
	before := Table{{PID: 1, Start: 1, Program: Kubelet, CPUSeconds: 5}, {PID: 2, Start: 1, Program: Workload, CPUSeconds: 9},
		{PID: 3, Start: 1, Program: Agent, CPUSeconds: 100}}
	after := Table{{PID: 1, Start: 1, Program: Kubelet, CPUSeconds: 7}, {PID: 2, Start: 8, Program: Workload, CPUSeconds: 2},
		{PID: 4, Start: 9, Program: Workload, CPUSeconds: 1}}
	if diff := cmp.Diff(map[string]float64{Kubelet: 2, Workload: 3}, after.CPUSince(before)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseBusy(t *testing.T) {
	busy, err := parseBusy("cpu  100 20 30 9999 888 7 3 50 0 0\ncpu0 1 1\n")
	if err != nil || busy != 1.6 {
		t.Errorf("%v, %v; want 1.6", busy, err)
	}
	for _, broken := range []string{"", "intr 5", "cpu 1 2 3", "cpu a b c d e f g h"} {
		if _, err := parseBusy(broken); err == nil {
			t.Errorf("%q passed", broken)
		}
	}
	if _, _, err := parseStat("1 (x) S 1"); err == nil {
		t.Error("a short stat line passed")
	}
}

func TestEnds(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Skip("no sleep:", err)
	}
	ends, err := Watch(Table{{PID: cmd.Process.Pid}})
	if err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := ends.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for one that lives: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := ends.Wait(t.Context()); err != nil {
		t.Errorf("waiting for one that was killed: %v", err)
	}
	_ = cmd.Wait()
}

// A process that ended and was not waited for does not live, nor does one that is not there.
func TestLife(t *testing.T) {
	r := proc(t, map[int][3]string{100: {lane, "sleep 1", "1 2 0 0"}, 101: {lane, "", "1 2 0 0"}})
	stat := filepath.Join(r.Root, "101", "stat")
	data, err := os.ReadFile(stat)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stat, []byte(strings.Replace(string(data), ") S ", ") Z ", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if start, lives := r.Life(100); !lives || start != 77 {
		t.Errorf("100: lives: %t, since %d; want true, 77", lives, start)
	}
	for _, pid := range []int{101, 102} {
		if _, lives := r.Life(pid); lives {
			t.Errorf("%d lives", pid)
		}
	}
}

// Where nothing is measured, nothing is taken for what is measured.
func TestWithoutWorkload(t *testing.T) {
	r := proc(t, map[int][3]string{100: {inside, "/opt/bin/kubelet --config=x", "0 0 0 0"}})
	r.Workload = nil
	table, err := r.Read()
	if err != nil || len(table.Of(Kubelet)) != 1 {
		t.Errorf("%v %+v, want a kubelet", err, table)
	}
}

//go:build linux

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testInstance is a cluster beside the one that people use.
const testInstance = "9"

// needRoot skips where clusters cannot be made, except where that must not go unnoticed.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test makes network namespaces and needs root")
}

// machine is what of the machine a cluster may change: everything that is there, by kind.
func machine(t *testing.T) map[string][]string {
	t.Helper()
	lines := func(name string, args ...string) []string {
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all := strings.Split(strings.TrimSpace(string(out)), "\n")
		sort.Strings(all)
		return all
	}
	found := map[string][]string{
		"links":  lines("ip", "-o", "link", "show", "type", "veth"),
		"routes": lines("ip", "route", "show", "table", "all"),
		"rules":  lines("iptables-save"),
	}
	mounts, err := mountsBelow("/")
	if err != nil {
		t.Fatal(err)
	}
	found["mounts"] = mounts
	for kind, pattern := range map[string]string{
		"namespaces": netnsDir + "*", "namespace names": netnsDir + "/*", "run": "/run/*", "lib": "/var/lib/*", "opt": "/opt/*",
		"containerd": "/run/containerd/*", "etc": "/etc/*",
	} {
		found[kind], _ = filepath.Glob(pattern)
	}
	eachCgroup([]string{"/"}, func(dir string) { found["cgroups"] = append(found["cgroups"], dir) })
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		line, _ := os.ReadFile(p)
		if strings.Contains(string(line), "miniplane-local-"+testInstance) {
			found["processes"] = append(found["processes"], string(line))
		}
	}
	return found
}

// unchanged fails when the machine is not as it was. Other tests may be at work on the same machine: what they have is
// left out as far as names tell.
func unchanged(t *testing.T, before map[string][]string) {
	t.Helper()
	ours := func(all map[string][]string) map[string][]string {
		kept := map[string][]string{}
		for kind, items := range all {
			for _, item := range items {
				if strings.Contains(item, "mini"+testInstance+"-") || strings.Contains(item, "miniplane-local-"+testInstance) ||
					strings.Contains(item, "100.127.246.") || kind == "opt" || kind == "etc" {
					kept[kind] = append(kept[kind], item)
				}
			}
		}
		return kept
	}
	if diff := cmp.Diff(ours(before), ours(machine(t))); diff != "" {
		t.Errorf("the machine is not as it was (-before +after):\n%s", diff)
	}
}

// tool builds the program once and returns a function that runs it.
func tool(t *testing.T) func(ctx context.Context, verb string, args ...string) *exec.Cmd {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	program := filepath.Join(t.TempDir(), "cluster")
	build := exec.Command("go", "build", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return func(ctx context.Context, verb string, args ...string) *exec.Cmd {
		args = append([]string{verb, "-instance", testInstance}, args...)
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = root
		return cmd
	}
}

func must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
	return string(out)
}

func TestUpTwiceAndDownLeavesNothing(t *testing.T) {
	needRoot(t)
	run, ctx := tool(t), t.Context()
	must(t, run(ctx, "down"))
	before := machine(t)
	t.Cleanup(func() { must(t, run(context.Background(), "down")) })
	must(t, run(ctx, "up", "-without", "manager,agent", "-nodes", "1"))
	if out := must(t, run(ctx, "exec", "mini9-0", "ip -4 -o addr show eth0")); !strings.Contains(out, "100.127.246.10/24") {
		t.Errorf("the node's address: %s", out)
	}
	// What died is started again, and a node more is added.
	must(t, run(ctx, "containerd-kill", "mini9-0"))
	must(t, run(ctx, "apiserver-stop"))
	must(t, run(ctx, "up", "-without", "manager,agent", "-nodes", "2"))
	must(t, run(ctx, "image-load", ".local/images/busybox.tar"))
	// A container that nobody cleans up: its shim must be found all the same.
	must(t, run(ctx, "exec", "mini9-1", "ctr run -d --null-io --cgroup /miniplane-local-9/forgotten --runc-root /run/miniplane-local-9/runc miniplane.dev/busybox:v1 forgotten sleep 1000"))
	must(t, run(ctx, "node-stop", "mini9-0"))
	must(t, run(ctx, "down"))
	unchanged(t, before)
	if out := must(t, run(ctx, "down")); !strings.Contains(out, "nothing is left") {
		t.Errorf("a second down said: %s", out)
	}
}

// With miniplane and MiniPods on it: the agents themselves leave nothing, also when the API server is gone by then; and a
// node that was switched off is swept.
func TestWholeClusterLeavesNothing(t *testing.T) {
	needRoot(t)
	run, ctx := tool(t), t.Context()
	must(t, run(ctx, "down"))
	before := machine(t)
	t.Cleanup(func() { must(t, run(context.Background(), "down")) })
	for _, fault := range [][]string{nil, {"apiserver-stop"}, {"agent-kill", "mini9-0"}, {"node-stop", "mini9-0"}} {
		must(t, run(ctx, "up", "-nodes", "1"))
		must(t, run(ctx, "exec", "mini9-0", "cd "+run(ctx, "").Dir+"/config/samples && "+
			"kubectl apply -f minideployment.yaml -f miniservice.yaml && kubectl wait mdeploy/web --for=condition=Available --timeout=60s"))
		if fault != nil {
			must(t, run(ctx, fault[0], fault[1:]...))
		}
		must(t, run(ctx, "down", "-strict"))
		unchanged(t, before)
	}
}

// Whenever up is killed, down finds all of it, and up can go on.
func TestKilledUp(t *testing.T) {
	needRoot(t)
	run, ctx := tool(t), t.Context()
	must(t, run(ctx, "down"))
	before := machine(t)
	bare := []string{"-without", "manager,agent"}
	for i, after := range []time.Duration{100, 200, 400, 1000} {
		cmd := run(ctx, "up", bare...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after * time.Millisecond) // the moment to die at
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		if i%2 == 1 {
			must(t, run(ctx, "up", bare...))
			must(t, run(ctx, "exec", "mini9-1", "kubectl get --raw /readyz"))
		}
		must(t, run(ctx, "down"))
		unchanged(t, before)
	}
}

// A cluster of another clone is not touched.
func TestOtherClone(t *testing.T) {
	needRoot(t)
	l := Layout{Root: t.TempDir(), Instance: 8}
	mine := newCluster(l, &Report{out: os.Stderr, every: time.Minute})
	if err := mine.writeState(&State{Root: "/", Nodes: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(l.RunDir()) })
	for name, err := range map[string]error{
		"claim": second(mine.claim(options{nodes: 2, mode: "local", limits: limitsDefault})), "down": mine.Down(t.Context(), false), "running": second(mine.running()),
	} {
		if err == nil || !strings.Contains(err.Error(), "another local cluster runs from /; stop it with") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

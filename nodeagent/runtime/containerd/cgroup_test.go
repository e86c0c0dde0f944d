package containerd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3"
	v1stats "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2stats "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/containerdenv"
)

// unified skips what only cgroup v2 does.
func unified(t *testing.T) {
	t.Helper()
	if cgroups.Mode() != cgroups.Unified {
		t.Skip("SKIPPED: needs cgroup v2 alone; hack/vm has machines with it")
	}
}

// group reads a file of a container's cgroup, which has one name in each version of cgroups.
func group(t *testing.T, spec runtime.ContainerSpec, v1, v2 string) string {
	t.Helper()
	name := filepath.Join("/sys/fs/cgroup", spec.CgroupPath, v2)
	if cgroups.Mode() != cgroups.Unified {
		controller, _, _ := strings.Cut(v1, ".")
		name = filepath.Join("/sys/fs/cgroup", controller, spec.CgroupPath, v1)
	}
	text, err := os.ReadFile(name)
	must(t, err)
	return strings.TrimSpace(string(text))
}

// TestOwnCgroupOnly: with cgroup v2, a container sees its own cgroup as if it were all there is, with its limits, and can
// change nothing of it. A privileged one sees the machine's.
func TestOwnCgroupOnly(t *testing.T) {
	unified(t)
	for name, node := range shims {
		t.Run(name, func(t *testing.T) {
			n := node(t)
			spec := n.start(t, n.runtime(t), "sees", `cat /proc/self/cgroup; cd /sys/fs/cgroup; echo max $(cat memory.max) of $(cat cgroup.procs | wc -l);
echo 1 > memory.max; mkdir new; ls -d new; echo done; sleep 1000`, func(s *runtime.ContainerSpec) { s.Resources.MemoryLimit = 32 << 20 })
			text := output(t, spec, "done")
			for _, want := range []string{"F 0::/\n", "F max 33554432 of", "memory.max: Read-only file system", "'new': Read-only file system"} {
				if !strings.Contains(text, want) {
					t.Errorf("output lacks %q", want)
				}
			}
			spec = n.start(t, n.runtime(t), "privileged", `cat /proc/self/cgroup; ls -d /sys/fs/cgroup/*/; echo done; sleep 1000`,
				func(s *runtime.ContainerSpec) { s.Security.Privileged = true })
			all := output(t, spec, "done")
			if want := "F 0::" + spec.CgroupPath + "\n"; !strings.Contains(all, want) {
				t.Errorf("output lacks %q", want)
			}
			if t.Failed() {
				t.Log(text, all)
			}
		})
	}
}

// TestOOMOfAll: with cgroup v2, a container whose memory is not enough ends as a whole, as native containers do, and does not go on
// without one of its processes.
func TestOOMOfAll(t *testing.T) {
	unified(t)
	for name, node := range shims {
		t.Run(name, func(t *testing.T) {
			n := node(t)
			r := n.runtime(t)
			n.start(t, r, "whole", `dd if=/dev/zero of=/dev/shm/x bs=1M count=60 & wait; sleep 1000`,
				func(s *runtime.ContainerSpec) { s.Resources.MemoryLimit = 16 << 20 })
			if c := awaits(t, r, "whole", runtime.StateExited); !c.OOMKilled || c.ExitCode != 137 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// TestTaskVerbs: freezing, thawing, counting and changing limits through containerd's API.
func TestTaskVerbs(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) { testTaskVerbs(t, node(t)) })
	}
}

func testTaskVerbs(t *testing.T, n *node) {
	r := n.runtime(t)
	spec := n.start(t, r, "verbs", "i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done", func(s *runtime.ContainerSpec) {
		s.Resources = runtime.Resources{CPUShares: 512, MemoryLimit: 64 << 20}
	})
	output(t, spec, "F 3\n")
	c := n.Client(t)
	defer c.Close()
	ctx := namespaces.WithNamespace(t.Context(), containerdenv.Namespace)
	container, err := c.LoadContainer(ctx, "verbs")
	must(t, err)
	task, err := container.Task(ctx, nil)
	must(t, err)

	must(t, task.Pause(ctx))
	if status, err := task.Status(ctx); err != nil || status.Status != client.Paused {
		t.Errorf("paused: %+v, %v", status, err)
	}
	eventually(t, func() string {
		if state := group(t, spec, "freezer.state", "cgroup.events"); state != "FROZEN" && !strings.Contains(state, "frozen 1") {
			return "the cgroup is not frozen: " + state
		}
		return ""
	})
	must(t, task.Resume(ctx))
	before, err := os.ReadFile(spec.LogPath)
	must(t, err)
	eventually(t, func() string {
		if after, _ := os.ReadFile(spec.LogPath); len(after) == len(before) {
			return "it does nothing after it was thawed"
		}
		return ""
	})

	metric, err := task.Metrics(ctx)
	must(t, err)
	stats, err := typeurl.UnmarshalAny(metric.Data)
	must(t, err)
	var memory, limit, cpu, pids uint64
	switch s := stats.(type) {
	case *v1stats.Metrics:
		memory, limit, cpu, pids = s.GetMemory().GetUsage().GetUsage(), s.GetMemory().GetUsage().GetLimit(), s.GetCPU().GetUsage().GetTotal(), s.GetPids().GetCurrent()
	case *v2stats.Metrics:
		memory, limit, cpu, pids = s.GetMemory().GetUsage(), s.GetMemory().GetUsageLimit(), s.GetCPU().GetUsageUsec(), s.GetPids().GetCurrent()
	}
	if memory == 0 || limit != 64<<20 || cpu == 0 || pids == 0 {
		t.Errorf("%T: memory %d of %d, cpu %d, %d processes", stats, memory, limit, cpu, pids)
	}

	shares, more := uint64(1024), int64(96<<20)
	must(t, task.Update(ctx, client.WithResources(&specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}, Memory: &specs.LinuxMemory{Limit: &more, Swap: &more}})))
	if got := group(t, spec, "memory.limit_in_bytes", "memory.max"); got != fmt.Sprint(more) {
		t.Errorf("memory limit %s, want %d", got, more)
	}
	if got := group(t, spec, "cpu.shares", "cpu.weight"); got != "1024" && got != "100" {
		t.Errorf("cpu weight %s, want 1024 shares or weight 100", got)
	}

	// One that is frozen is removed all the same.
	must(t, task.Pause(ctx))
	must(t, r.Remove(t.Context(), "verbs"))
}

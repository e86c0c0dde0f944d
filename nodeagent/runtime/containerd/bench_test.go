package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/nodeagent/sandbox"
)

// pod makes a sandbox and the spec of its one container.
func (n *node) pod(t testing.TB, manager sandbox.Manager, uid string) runtime.ContainerSpec {
	t.Helper()
	s, err := manager.Ensure(context.Background(), sandbox.Spec{
		PodUID: uid, Hostname: "bench", CgroupPath: filepath.Join(n.parent, "pod"+uid),
	})
	if err != nil {
		t.Fatal(err)
	}
	return runtime.ContainerSpec{
		ID: uid + "-main-0", Group: uid, Image: busybox, Command: []string{"/bin/busybox", "sleep", "100000"},
		Labels: map[string]string{runtime.LabelPodUID: uid}, Namespaces: s.Namespaces,
		CgroupPath: filepath.Join(n.parent, "pod"+uid, uid+"-main-0"), LogPath: filepath.Join(n.Dir, uid+".log"),
		Resources: runtime.Resources{MemoryLimit: 64 << 20},
	}
}

func (n *node) sandboxes(t testing.TB) sandbox.Manager {
	t.Helper()
	state := filepath.Join(n.Dir, "agent")
	m, err := sandbox.New(sandbox.Options{StateDir: state, PauseBinary: n.opts.PauseBinary})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		list, err := m.List(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, s := range list {
			if err := m.Remove(context.Background(), s.PodUID); err != nil {
				t.Error(err)
			}
		}
		if err := sandbox.Cleanup(state); err != nil {
			t.Error(err)
		}
	})
	return m
}

// BenchmarkStart: one container at a time, joining a sandbox that is there.
func BenchmarkStart(b *testing.B) {
	for name, node := range shims {
		b.Run(name, func(b *testing.B) { benchmarkStart(b, node(b)) })
	}
}

// shims are the two ways to start containers.
var shims = map[string]func(testing.TB) *node{"own shim": newNode, "runc": newRuncNode}

func benchmarkStart(b *testing.B, n *node) {
	r, m := n.runtime(b), n.sandboxes(b)
	var creates, starts, removes []time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		spec := n.pod(b, m, fmt.Sprintf("one-%d", i))
		b.StartTimer()
		creates = append(creates, timed(b, func() error { return r.Create(context.Background(), spec) }))
		starts = append(starts, timed(b, func() error { return r.Start(context.Background(), spec.ID) }))
		b.StopTimer()
		removes = append(removes, timed(b, func() error { return r.Remove(context.Background(), spec.ID) }))
		if err := m.Remove(context.Background(), spec.Group); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(p50(creates), "create-p50-ms")
	b.ReportMetric(p50(starts), "start-p50-ms")
	b.ReportMetric(p50(removes), "remove-p50-ms")
}

// BenchmarkBurst: 60 sandboxes and containers as fast as they come.
func BenchmarkBurst(b *testing.B) {
	for name, node := range shims {
		for _, parallel := range []int{4, 8} {
			b.Run(fmt.Sprintf("%s/parallel=%d", name, parallel), func(b *testing.B) { benchmarkBurst(b, node(b), parallel) })
		}
	}
}

func benchmarkBurst(b *testing.B, n *node, parallel int) {
	r, m := n.runtime(b), n.sandboxes(b)
	var starting, removing time.Duration
	for i := 0; b.Loop(); i++ {
		starting += burst(b, parallel, func(j int) error { return n.startPod(b, r, m, fmt.Sprintf("b%d-%d", i, j)) })
		b.StopTimer()
		removing += burst(b, parallel, func(j int) error {
			uid := fmt.Sprintf("b%d-%d", i, j)
			if err := r.Remove(context.Background(), uid+"-main-0"); err != nil {
				return err
			}
			return m.Remove(context.Background(), uid)
		})
		b.StartTimer()
	}
	b.ReportMetric(float64(60*b.N)/starting.Seconds(), "starts/s")
	b.ReportMetric(float64(60*b.N)/removing.Seconds(), "removes/s")
}

func (n *node) startPod(b *testing.B, r *containerd.Runtime, m sandbox.Manager, uid string) error {
	spec := n.pod(b, m, uid)
	if err := r.Create(context.Background(), spec); err != nil {
		return err
	}
	return r.Start(context.Background(), spec.ID)
}

// burst does 60 things, some at a time, and tells how long all took.
func burst(b *testing.B, parallel int, do func(int) error) time.Duration {
	b.Helper()
	start := time.Now()
	work := make(chan int)
	var group sync.WaitGroup
	for range parallel {
		group.Go(func() {
			for j := range work {
				if err := do(j); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for j := range 60 {
		work <- j
	}
	close(work)
	group.Wait()
	return time.Since(start)
}

func timed(b *testing.B, do func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := do(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func p50(durations []time.Duration) float64 {
	slices.Sort(durations)
	return float64(durations[len(durations)/2].Microseconds()) / 1000
}

// BenchmarkMemory: what 40 MiniPods need beyond their own processes: shims, logs, pauses.
func BenchmarkMemory(b *testing.B) {
	const pods = 40
	for name, node := range shims {
		b.Run(name, func(b *testing.B) {
			n := node(b)
			r, m := n.runtime(b), n.sandboxes(b)
			for i := 0; b.Loop(); i++ {
				burst(b, 4, func(j int) error {
					if j >= pods {
						return nil
					}
					return n.startPod(b, r, m, fmt.Sprintf("m%d-%d", i, j))
				})
				used, processes := n.overhead()
				b.ReportMetric(float64(used)/1024/pods, "MB/pod")
				b.ReportMetric(float64(processes), "processes")
				burst(b, 4, func(j int) error {
					uid := fmt.Sprintf("m%d-%d", i, j)
					return errors.Join(r.Remove(context.Background(), uid+"-main-0"), m.Remove(context.Background(), uid))
				})
			}
		})
	}
}

// overhead is the proportional memory, in kB, of everything that runs for containers and is not a container or containerd.
func (n *node) overhead() (kB, processes int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		cmdline, _ := os.ReadFile(file)
		ours := bytes.Contains(cmdline, []byte(n.Dir)) && (bytes.Contains(cmdline, []byte("containerd-shim")) || bytes.Contains(cmdline, []byte("\x00log\x00")))
		if !ours && !bytes.HasPrefix(cmdline, []byte("pause\x00sandbox\x00bench")) {
			continue
		}
		rollup, err := os.ReadFile(filepath.Join(filepath.Dir(file), "smaps_rollup"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(rollup)) {
			var pss int
			if _, err := fmt.Sscanf(line, "Pss: %d kB", &pss); err == nil {
				kB += pss
				processes++
			}
		}
	}
	return kB, processes
}

// BenchmarkServers: what a server of the shim costs, for different numbers of MiniPods in each: its own memory, and how long a start takes
// that must begin a server, and one that need not.
func BenchmarkServers(b *testing.B) {
	for _, most := range []int{1, 4, 16, 32} {
		b.Run(fmt.Sprintf("%d in each", most), func(b *testing.B) {
			for b.Loop() {
				measureServers(b, most)
			}
		})
	}
}

func measureServers(b *testing.B, most int) {
	n := newNode(b)
	n.opts.GroupsPerServer = most
	r, m := n.runtime(b), n.sandboxes(b)
	first, later, private, shared, known := []time.Duration{}, []time.Duration{}, 0, 0, map[int]bool{}
	for i := range 4 * most {
		spec := n.pod(b, m, fmt.Sprintf("%08d-2222-3333-4444-555555555555", i))
		must(b, r.Create(b.Context(), spec))
		took := timed(b, func() error { return r.Start(context.Background(), spec.ID) })
		c, err := r.Inspect(b.Context(), spec.ID)
		must(b, err)
		if server := parent(b, c.PID); !known[server] {
			known[server] = true
			first = append(first, took)
		} else {
			later = append(later, took)
		}
		defer func() { must(b, r.Remove(context.Background(), spec.ID)) }()
	}
	for server := range known {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", server))
		must(b, err)
		for line := range strings.Lines(string(text)) {
			var kB int
			if _, err := fmt.Sscanf(line, "Private_Dirty: %d", &kB); err == nil {
				private += kB
			}
			if _, err := fmt.Sscanf(line, "Pss: %d", &kB); err == nil {
				shared += kB
			}
		}
	}
	b.ReportMetric(float64(len(known)), "servers")
	b.ReportMetric(float64(private)/float64(len(known)), "own-kB/server")
	b.ReportMetric(float64(shared)/float64(len(known)), "pss-kB/server")
	b.ReportMetric(p50(first), "first-ms")
	if len(later) > 0 {
		b.ReportMetric(p50(later), "later-ms")
	}
}

// BenchmarkLook: what a look at a whole node costs with 500 containers, and what of it is reading their records.
func BenchmarkLook(b *testing.B) {
	n := newNode(b)
	r := n.runtime(b)
	const many = 500
	ids := make([]string, many)
	for i := range ids {
		ids[i] = fmt.Sprintf("look-%d", i)
		must(b, r.Create(context.Background(), runtime.ContainerSpec{ID: ids[i], Group: ids[i], Image: busybox, Command: shell("true"),
			Labels: map[string]string{runtime.LabelPodUID: ids[i]}, CgroupPath: filepath.Join(n.parent, ids[i])}))
	}
	c := n.Client(b)
	defer c.Close()
	for name, look := range map[string]func() error{
		"records": func() error { _, err := c.ContainerService().List(context.Background()); return err },
		"list":    func() error { _, err := r.List(context.Background()); return err },
		"sweep":   func() error { return r.Sweep(context.Background()) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(b, look())
			}
		})
	}
	for _, id := range ids {
		must(b, r.Remove(context.Background(), id))
	}
}

package containerd_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/test/containerdenv"
)

// TestInside looks at a container from its inside.
func TestInside(t *testing.T) {
	n := newNode(t)
	n.ImportImage(t, "docker.io/library/plain:test", containerdenv.Busybox(t, v1.Config{
		User: "plain", WorkingDir: "/tmp", Env: []string{"A=image", "B=image"}, Entrypoint: []string{"/bin/busybox", "sh", "-c"},
	}))
	r, m := n.runtime(t), n.sandboxes(t)
	box, err := m.Ensure(t.Context(), sandbox.Spec{PodUID: "inside", Hostname: "web-0", CgroupPath: filepath.Join(n.parent, "podinside")})
	must(t, err)
	given := filepath.Join(n.Dir, "given")
	must(t, os.WriteFile(given, []byte("from the host"), 0o644))

	script := `id; pwd; hostname; echo A=$A B=$B C=$C HOSTNAME=$HOSTNAME; cat /given; echo; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status;
mount | grep -c ' on /proc/sys '; echo x > /given; ls /dev; cat /proc/sys/kernel/hostname; cat /proc/self/oom_score_adj; ps | wc -l; echo done`
	spec := n.start(t, r, "inside", script, func(s *runtime.ContainerSpec) {
		s.Image, s.Command, s.Args = "plain:test", nil, []string{script}
		s.Env, s.Hostname = []string{"B=own", "C=own"}, "web-0"
		s.Namespaces, s.CgroupPath = box.Namespaces, filepath.Join(n.parent, "podinside", "inside")
		s.Mounts = []runtime.Mount{
			{HostPath: given, ContainerPath: "/given", ReadOnly: true},
			{HostPath: box.SharedMemory, ContainerPath: "/dev/shm"},
		}
		s.Resources.OOMScoreAdj = -997 // more than may be had here, perhaps
	})
	text := output(t, spec, "done")
	for _, want := range []string{
		"uid=1000(plain) gid=1000(plain) groups=1000(plain),2000(extra)", "F /tmp\n", "F web-0\n",
		"A=image B=own C=own HOSTNAME=web-0", "F from the host\n", "CapEff:\t0000000000000000", "Seccomp:\t2",
		"can't create /given", "urandom", "shm",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("output lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestShared: containers of one MiniPod share what the sandbox has, and one shim.
func TestShared(t *testing.T) {
	n := newNode(t)
	r, m := n.runtime(t), n.sandboxes(t)
	box, err := m.Ensure(t.Context(), sandbox.Spec{PodUID: "pair", Hostname: "pair", CgroupPath: filepath.Join(n.parent, "podpair")})
	must(t, err)
	join := func(s *runtime.ContainerSpec) {
		s.Group, s.Namespaces = "pair", box.Namespaces
		s.CgroupPath = filepath.Join(n.parent, "podpair", s.ID)
		s.Mounts = []runtime.Mount{{HostPath: box.SharedMemory, ContainerPath: "/dev/shm"}}
	}
	group := strings.Repeat("p", 36) // as long as a MiniPod's UID, by which shims are given
	n.start(t, r, group+"-server", "echo memory > /dev/shm/x; while :; do echo network | busybox nc -l -p 5000; done", join)
	client := n.start(t, r, group+"-client",
		"until cat /dev/shm/x; do usleep 10000; done; until busybox nc 127.0.0.1 5000 </dev/null; do usleep 10000; done; echo done; sleep 1000", join)
	text := output(t, client, "done")
	if !strings.Contains(text, "F memory") || !strings.Contains(text, "F network") {
		t.Error(text)
	}
	server, other := awaits(t, r, group+"-server", runtime.StateRunning), awaits(t, r, group+"-client", runtime.StateRunning)
	if parent(t, server.PID) != parent(t, other.PID) {
		t.Error("the two containers have two shims")
	}
}

// TestLimits are seen in the kernel.
func TestLimits(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	spec := n.start(t, r, "limited", "sleep 1000", func(s *runtime.ContainerSpec) {
		s.Resources = runtime.Resources{CPUShares: 204, CPUQuota: 50_000, CPUPeriod: 100_000, MemoryLimit: 32 << 20}
	})
	for _, want := range []struct{ v1, v2, value1, value2 string }{
		{"cpu/%s/cpu.shares", "%s/cpu.weight", "204", "29"},
		{"cpu/%s/cpu.cfs_quota_us", "%s/cpu.max", "50000", "50000 100000"},
		{"memory/%s/memory.limit_in_bytes", "%s/memory.max", "33554432", "33554432"},
	} {
		text, err := os.ReadFile("/sys/fs/cgroup/" + fmt.Sprintf(want.v1, spec.CgroupPath))
		value := want.value1
		if err != nil {
			value = want.value2
			text, err = os.ReadFile("/sys/fs/cgroup/" + fmt.Sprintf(want.v2, spec.CgroupPath))
		}
		if got := string(bytes.TrimSpace(text)); err != nil || got != value {
			t.Errorf("%s: %q, %v, want %q", want.v1, got, err, value)
		}
	}
}

// TestLongAndUnfinishedLines: lines over 16 KiB come in parts; a last line without an end is a line.
func TestLongAndUnfinishedLines(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	events, err := r.Events(t.Context())
	must(t, err)
	spec := n.start(t, r, "long", `head -c 40000 /dev/zero | tr '\0' x; echo; echo oops >&2; printf unfinished`)
	for e := range events {
		if e.Type == runtime.EventExited {
			break
		}
	}
	text, err := os.ReadFile(spec.LogPath)
	must(t, err)
	var got []string
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		got = append(got, fmt.Sprintf("%s %s %d", fields[1], fields[2], len(fields[3])))
	}
	for _, want := range []string{"stdout P 16384", "stdout P 16384", "stdout F 7232", "stderr F 4", "stdout F 10"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("lines %v lack %q", got, want)
		}
	}
}

// TestLogWithoutAgent: a container that writes far more than a pipe holds while no agent is there neither waits nor loses
// anything, and ends while nobody looks.
func TestLogWithoutAgent(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	const lines = 100_000
	spec := n.start(t, r, "writes", fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done", lines))
	must(t, r.Close())
	text := output(t, spec, fmt.Sprintf("line %d\n", lines-1))
	numbered(t, text, lines)
	r = n.runtime(t)
	if c := awaits(t, r, "writes", runtime.StateExited); c.ExitCode != 0 {
		t.Errorf("%+v", c)
	}
	must(t, r.Remove(t.Context(), "writes"))
}

// TestManyListed: List stays two calls and within a message's size for hundreds of records.
func TestManyListed(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	const many = 300
	for i := range many {
		must(t, r.Create(t.Context(), runtime.ContainerSpec{ID: fmt.Sprintf("many-%d", i), Group: "many", Image: busybox,
			Command: shell("true"), Env: []string{"PADDING=" + strings.Repeat("x", 60_000)}}))
	}
	list, err := n.runtime(t).List(t.Context())
	if err != nil || len(list) != many {
		t.Errorf("%d listed, %v", len(list), err)
	}
	for i := range many {
		must(t, r.Remove(t.Context(), fmt.Sprintf("many-%d", i)))
	}
}

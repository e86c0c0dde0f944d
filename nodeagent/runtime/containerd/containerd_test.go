package containerd_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/runtime/conformance"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/test/containerdenv"
)

const busybox = "docker.io/library/busybox:test"

// node is a containerd with a busybox image and a runtime on it.
type node struct {
	*containerdenv.Env
	opts   containerd.Options
	parent string
}

// newNode is a node that starts containers with our own shim.
func newNode(t testing.TB) *node {
	t.Helper()
	n := newRuncNode(t)
	var err error
	n.opts.Shim, err = containerd.InstallShim(n.opts.PauseBinary, containerdenv.ShimBinary(t), filepath.Join(n.Dir, "root-dir"), n.opts.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		logs, _ := filepath.Glob(filepath.Join(n.opts.StateDir, "shim-*", "*.log"))
		for _, log := range logs {
			if text, _ := os.ReadFile(log); t.Failed() || strings.Contains(string(text), "for each container") { // a slow way was taken
				t.Errorf("%s: %s", log, text)
			}
		}
		if err := containerd.StopShims(context.Background(), n.opts.StateDir); err != nil {
			t.Error(err)
		}
	})
	return n
}

// newRuncNode is a node that starts containers with containerd's shim and runc.
func newRuncNode(t testing.TB) *node {
	t.Helper()
	env := containerdenv.Start(t)
	env.ImportImage(t, busybox, containerdenv.Busybox(t, v1.Config{}))
	n := &node{Env: env, parent: env.Cgroup}
	n.opts = containerd.Options{
		Address: env.Address, StateDir: filepath.Join(env.Dir, "agent"), PauseBinary: containerdenv.PauseBinary(t),
	}
	t.Cleanup(func() {
		if err := cgroup.Remove(context.Background(), n.parent); err != nil {
			t.Error(err)
		}
	})
	return n
}

// runtime connects as an agent does that starts.
func (n *node) runtime(t testing.TB) *containerd.Runtime {
	t.Helper()
	r, err := containerd.New(n.opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// leftovers of a removed container in the kernel and on disk.
func (n *node) leftovers(id string) []string {
	var out []string
	if cgroup.Exists(filepath.Join(n.parent, "pod"+id, id)) {
		out = append(out, "cgroup")
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.Dir) && strings.Contains(line, "/"+id+"/rootfs") {
			out = append(out, "mount")
		}
	}
	for _, pattern := range []string{n.Dir + "/state/*/miniplane/" + id, n.opts.StateDir + "/shim-*/c/" + id, "/run/containerd/runc/miniplane/" + id} {
		found, _ := filepath.Glob(pattern)
		out = append(out, found...)
	}
	return out
}

func shell(script string) []string { return []string{"/bin/busybox", "sh", "-c", script} }

func TestConformance(t *testing.T) {
	for name, node := range shims {
		t.Run(name, func(t *testing.T) { testConformance(t, node(t)) })
	}
}

func testConformance(t *testing.T, n *node) {
	private := newRegistry(t, containerdenv.Busybox(t, v1.Config{Labels: map[string]string{"for": "some"}}), "private/app:1")
	n.opts.InsecureRegistries = []string{private.host}
	const stops = "docker.io/library/stops:test"
	n.ImportImage(t, stops, containerdenv.Busybox(t, v1.Config{StopSignal: "USR1"}))
	conformance.Run(t, conformance.Harness{
		Private:      private.host + "/private/app:1",
		Login:        runtime.RegistryAuth{Registry: private.host, Username: "me", Password: "secret"},
		New:          func(t *testing.T) runtime.Runtime { return n.runtime(t) },
		Image:        busybox,
		Stops:        stops,
		Missing:      "127.0.0.1:1/missing:test",
		Command:      func(p conformance.Program) []string { return shell(p.Script()) },
		CgroupParent: n.parent,
		Leftovers:    n.leftovers,
	})
	must(t, containerd.StopShims(t.Context(), n.opts.StateDir))
	if left := n.shims(); len(left) > 0 {
		t.Errorf("shims left: %v", left)
	}
}

// shims that run for this containerd.
func (n *node) shims() []string {
	var out []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if strings.Contains(string(text), "containerd-shim") && strings.Contains(string(text), n.Address) {
			out = append(out, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return out
}

// Package containerdenv gives tests a real containerd of their own: its sockets, its data and its shims live in a temporary
// directory, and nothing of it is left when the test ends, whatever state the test left it in. Tests that use it need root.
//
// The containerd of hack/assets.sh is used, which knows several releases (CONTAINERD=1.7), or that of the directory in
// MINIPLANE_TEST_CONTAINERD_DIR.
package containerdenv

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/test/testenv"
)

// Namespace is the containerd namespace that images are imported to.
const Namespace = "miniplane"

// Env is a running containerd.
type Env struct {
	// Address of its socket.
	Address string
	// Dir holds everything it writes; Bin the programs it uses (shim, runc).
	Dir, Bin string
	// Cgroup is a path for the cgroups of containers.
	Cgroup string

	cmd *exec.Cmd
	// alive is the directory, locked as long as this process lives: by that, others know that it is in use.
	alive *os.File
}

// dirPrefix begins the names of environments' directories in the one for temporary files.
const dirPrefix = "mpc"

func at(dir string) *Env {
	return &Env{Address: filepath.Join(dir, "c.sock"), Dir: dir, Cgroup: "/miniplane-test-" + filepath.Base(dir)}
}

// lock returns a locked directory, or nil if it is in use.
func lock(dir string) *os.File {
	file, err := os.Open(dir)
	if err != nil {
		return nil
	}
	if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		_ = file.Close()
		return nil
	}
	return file
}

// clearKilled ends and removes what is left of environments whose tests were killed. What containers of theirs left is in the way of containers of the same
// name, because runc keeps its own in one place.
func clearKilled(t testing.TB) {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "config.toml")); err != nil {
			continue // somebody else's, or one that is being made
		}
		if alive := lock(dir); alive != nil {
			t.Logf("what a test left that was killed is removed: %s", dir)
			e := at(dir)
			e.alive = alive
			e.cleanup(t)
		}
	}
}

// RequireRoot skips a test that needs root, or fails it where CI promises root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test needs root, and CI must give it")
	}
	t.Skip("SKIPPED: needs root (namespaces, cgroups, mounts)")
}

// Start runs a containerd until the test ends.
func Start(t testing.TB) *Env {
	t.Helper()
	RequireRoot(t)
	bin := os.Getenv("MINIPLANE_TEST_CONTAINERD_DIR")
	if bin == "" {
		_ = os.Getenv("CONTAINERD") // which the script reads: so go test knows that results depend on it
		bin = script(t, "assets.sh", "containerd", "containerd-shim-runc-v2", "runc")
	}
	clearKilled(t)
	// Sockets have short paths, which t.TempDir does not give.
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		t.Fatal(err)
	}
	e := at(dir)
	e.Bin = bin
	if e.alive = lock(dir); e.alive == nil {
		t.Fatalf("%s cannot be locked", dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(e.config()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.cleanup(t) })
	e.Run(t)
	return e
}

// PauseBinary builds cmd/pause, once per version of its source, and returns its path.
func PauseBinary(t testing.TB) string {
	t.Helper()
	return filepath.Join(script(t, "pause.sh"), "pause")
}

// ShimBinary builds cmd/shim, once per version of its source, and returns its path.
func ShimBinary(t testing.TB) string {
	t.Helper()
	return filepath.Join(script(t, "shim.sh"), "shim")
}

// Run starts the daemon, after Kill for example, and waits until it serves.
func (e *Env) Run(t testing.TB) {
	t.Helper()
	logs, err := os.OpenFile(filepath.Join(e.Dir, "containerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	e.cmd = exec.Command(filepath.Join(e.Bin, "containerd"), "--config", filepath.Join(e.Dir, "config.toml"))
	e.cmd.Env = append(os.Environ(), "PATH="+e.Bin+":"+os.Getenv("PATH"))
	e.cmd.Stdout, e.cmd.Stderr = logs, logs
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := e.Client(t)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // it comes up in a second, but not in an emulated machine on a busy one
	defer cancel()
	for {
		if ok, err := c.IsServing(ctx); ok && err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("containerd does not come up:\n%s", e.Log())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Kill ends the daemon with SIGKILL. Shims and containers live on.
func (e *Env) Kill() {
	if e.cmd != nil {
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait()
		e.cmd = nil
	}
}

// Client connects to the daemon, in Namespace. The caller closes it.
func (e *Env) Client(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(e.Address, client.WithDefaultNamespace(Namespace), client.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Log is what the daemon said.
func (e *Env) Log() string {
	text, _ := os.ReadFile(filepath.Join(e.Dir, "containerd.log"))
	return string(text)
}

// config is version 2, which every containerd from 1.5 on reads.
func (e *Env) config() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri",
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.podsandbox.controller.v1.podsandbox",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = %q
[ttrpc]
  address = %q
`, filepath.Join(e.Dir, "root"), filepath.Join(e.Dir, "state"), e.Address, e.Address+".ttrpc")
}

// cleanup ends what runs from this directory: the daemon, its shims and their containers, and unmounts what they mounted.
func (e *Env) cleanup(t testing.TB) {
	if t.Failed() && testing.Verbose() {
		t.Logf("containerd said:\n%s", e.Log())
	}
	e.Kill()
	for pid, cmdline := range processes() {
		if strings.Contains(cmdline, "-address\x00"+e.Address+"\x00") || strings.Contains(cmdline, "--config\x00"+filepath.Join(e.Dir, "config.toml")+"\x00") {
			killTree(pid)
		}
	}
	if err := cgroup.Remove(context.Background(), e.Cgroup); err != nil {
		t.Errorf("containerdenv: %v", err)
	}
	e.forgetBundles()
	unmountBelow(e.Dir)
	if err := os.RemoveAll(e.Dir); err != nil {
		t.Errorf("containerdenv: %v", err)
	}
	_ = e.alive.Close()
}

// forgetBundles removes what shims and runc keep outside of the directory.
func (e *Env) forgetBundles() {
	bundles, _ := filepath.Glob(filepath.Join(e.Dir, "state", "io.containerd.runtime.v2.task", Namespace, "*"))
	for _, bundle := range bundles {
		_ = os.RemoveAll(filepath.Join("/run/containerd/runc", Namespace, filepath.Base(bundle)))
		var shim struct{ Address string }
		text, _ := os.ReadFile(filepath.Join(bundle, "bootstrap.json"))
		if json.Unmarshal(text, &shim) != nil { // containerd 1.7 writes the address alone
			text, _ = os.ReadFile(filepath.Join(bundle, "address"))
			shim.Address = string(text)
		}
		if strings.HasPrefix(shim.Address, "unix:///run/containerd/s/") {
			_ = os.Remove(strings.TrimPrefix(shim.Address, "unix://"))
		}
	}
}

func processes() map[int]string {
	out := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		var pid int
		if _, err := fmt.Sscan(entry.Name(), &pid); err != nil {
			continue
		}
		if text, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline")); err == nil {
			out[pid] = string(text)
		}
	}
	return out
}

// killTree ends a shim's children (containers) first: they would be orphans without it.
func killTree(pid int) {
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range children {
		text, _ := os.ReadFile(file)
		for field := range strings.FieldsSeq(string(text)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				killTree(child)
			}
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func unmountBelow(dir string) {
	for range 20 {
		text, _ := os.ReadFile("/proc/self/mountinfo")
		found := false
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
				found = true
				_ = unix.Unmount(fields[4], unix.MNT_DETACH)
			}
		}
		if !found {
			return
		}
	}
}

func script(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(testenv.Root(), "hack", name), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("hack/%s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

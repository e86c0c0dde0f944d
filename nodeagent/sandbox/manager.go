// Package sandbox makes what the containers of one MiniPod share: network, IPC and UTS namespaces, shared memory, room for a few
// files and a cgroup, kept alive by a pause process. Some have a shape of their own: namespaces of the machine, or PIDs in common.
//
// The pause process is cloned directly into new namespaces, a millisecond's work. It belongs to nobody: it has its own
// session, is in the pauses' cgroup in every hierarchy, is nobody without capabilities, and outlives the agent. The namespaces are
// also pinned by bind mounts below the state directory, so that a dead pause loses nothing: a new one joins the pins.
//
// What makes it hard is that the agent may be killed between any two steps. Three things make every state one that Ensure
// completes and Remove removes. The pause does nothing before it reads a byte from its pipe and ends when that closes, so one
// that was not recorded yet dies with the agent. Its record holds its PID and the time it started, so that a PID that came
// to be another process's is never taken for it. And the steps are ordered: directory and spec, cgroups, process, record,
// pins, go, and last the mark in the record that says that all of it was done.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/containerd/errdefs"
	"k8s.io/utils/keymutex"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/nodeagent/sealed"
)

// lockBuckets is over how many locks the UIDs are spread; two of one bucket wait for each other.
const lockBuckets = 1024

// Options configure the manager.
type Options struct {
	// StateDir is where sandboxes are kept, below "sandboxes". It should not outlive a boot.
	StateDir string
	// PauseBinary is cmd/pause.
	PauseBinary string
}

type manager struct {
	dir    string
	pause  string
	bootID string
	reaper *reaper
	// copied is a copy of the pause that nobody can change. A pause whose PID namespace containers share is executed from it: who may trace it could write
	// to its file otherwise, which the next sandbox executes as root.
	copied func() (*os.File, error)
	locks  keymutex.KeyMutex // one for each sandbox, nearly, so that different ones are made in parallel
	// after is called after each step; tests stop there.
	after func(step string) error
}

// New makes a manager. The state directory is made a shared mount if it is not below one, because the pins must be seen by
// the runtime too.
func New(opts Options) (Manager, error) { return newManager(opts) }

func newManager(opts Options) (*manager, error) {
	if info, err := os.Stat(opts.PauseBinary); err != nil || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("pause binary %q is not an executable file (hack/pause.sh builds it)", opts.PauseBinary)
	}
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	m := &manager{
		dir: filepath.Join(opts.StateDir, "sandboxes"), pause: opts.PauseBinary, bootID: string(bootID),
		locks: keymutex.NewHashed(lockBuckets), reaper: newReaper(),
		copied: sync.OnceValues(func() (*os.File, error) {
			program, err := os.ReadFile(opts.PauseBinary)
			if err != nil {
				return nil, err
			}
			return sealed.Program("pause", program)
		}),
		after: func(string) error { return nil },
	}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return nil, err
	}
	if err := share(m.dir); err != nil {
		return nil, fmt.Errorf("make %s a shared mount: %w", m.dir, err)
	}
	return m, nil
}

// Cleanup undoes what New did to the state directory, when there are no sandboxes any more.
func Cleanup(stateDir string) error {
	dir := filepath.Join(stateDir, "sandboxes")
	if err := unshare(dir); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// saved is a sandbox's spec on disk.
type saved struct {
	Hostname   string
	CgroupPath string
}

var validUID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// Ensure implements Manager.
func (m *manager) Ensure(ctx context.Context, spec Spec) (Sandbox, error) {
	switch {
	case !validUID.MatchString(spec.PodUID):
		return Sandbox{}, fmt.Errorf("pod UID %q: %w", spec.PodUID, errdefs.ErrInvalidArgument)
	case spec.Hostname == "" || len(spec.Hostname) > 64:
		return Sandbox{}, fmt.Errorf("host name %q must have 1 to 64 characters: %w", spec.Hostname, errdefs.ErrInvalidArgument)
	case !filepath.IsAbs(spec.CgroupPath):
		return Sandbox{}, fmt.Errorf("cgroup %q must be an absolute path: %w", spec.CgroupPath, errdefs.ErrInvalidArgument)
	}
	m.locks.LockKey(spec.PodUID)
	defer func() { _ = m.locks.UnlockKey(spec.PodUID) }()
	if err := ctx.Err(); err != nil {
		return Sandbox{}, err
	}
	dir := filepath.Join(m.dir, spec.PodUID)
	if record, whole := m.whole(dir, spec.Shape); whole {
		return observed(dir, spec.PodUID, record, true), nil
	}
	record, err := m.make(dir, spec)
	if err != nil {
		return Sandbox{}, fmt.Errorf("sandbox %s: %w", spec.PodUID, err)
	}
	return observed(dir, spec.PodUID, record, true), nil
}

// whole tells whether nothing is missing, and gives the pause.
func (m *manager) whole(dir string, shape Shape) (process, bool) {
	record, alive := m.process(dir)
	return record, alive && record.Ready && record.Shape == shape && len(missing(dir, shape.pins())) == 0
}

// make makes a sandbox, or what is missing of one.
func (m *manager) make(dir string, spec Spec) (process, error) {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return process{}, err
	}
	if err := m.after("directory"); err != nil {
		return process{}, err
	}
	if err := writeJSON(filepath.Join(dir, "sandbox.json"), saved{spec.Hostname, spec.CgroupPath}); err != nil {
		return process{}, err
	}
	if err := m.after("spec"); err != nil {
		return process{}, err
	}
	for _, path := range []string{spec.CgroupPath, pauseCgroup(spec.CgroupPath)} {
		if err := cgroup.Create(path); err != nil {
			return process{}, err
		}
	}
	// Before anything runs in it.
	if err := bound(spec); err != nil {
		return process{}, err
	}
	if err := m.after("cgroup"); err != nil {
		return process{}, err
	}
	if err := m.reshape(dir, spec.Shape); err != nil {
		return process{}, err
	}
	record, alive := m.process(dir)
	if alive && record.Ready { // only pins were lost: the process holds the namespaces
		return record, pinAll(dir, spec.Shape, record.PID, m.after)
	}
	if alive { // of an agent that died before it was ready: nobody knows how far it came
		if err := m.kill(record); err != nil {
			return process{}, err
		}
	}
	return m.startPause(dir, spec)
}

// bound sets what all of the MiniPod may have.
func bound(spec Spec) error {
	errs := []error{cgroup.SetWeight(spec.CgroupPath, spec.CPUMillis), cgroup.LimitPIDs(spec.CgroupPath, spec.MaxPIDs)}
	if spec.MaxMemory > 0 {
		if err := cgroup.LimitMemory(spec.CgroupPath, spec.MaxMemory); !errors.Is(err, cgroup.ErrInUse) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// List implements Manager.
func (m *manager) List(ctx context.Context) ([]Sandbox, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, err
	}
	out := make([]Sandbox, 0, len(entries))
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		dir := filepath.Join(m.dir, entry.Name())
		record, alive := m.process(dir)
		out = append(out, observed(dir, entry.Name(), record, alive))
	}
	return out, nil
}

// Remove implements Manager. The directory goes last, so that what is not complete is still listed.
func (m *manager) Remove(ctx context.Context, podUID string) error {
	if !validUID.MatchString(podUID) {
		return fmt.Errorf("pod UID %q: %w", podUID, errdefs.ErrInvalidArgument)
	}
	m.locks.LockKey(podUID)
	defer func() { _ = m.locks.UnlockKey(podUID) }()
	dir := filepath.Join(m.dir, podUID)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if record, alive := m.process(dir); alive {
		if err := m.kill(record); err != nil {
			return fmt.Errorf("sandbox %s: end its pause: %w", podUID, err)
		}
	}
	if err := m.after("end of the pause"); err != nil {
		return err
	}
	for _, p := range (Shape{}).pins() { // of whatever shape
		if err := errors.Join(p.remove(dir), m.after("unpin "+p.of)); err != nil {
			return fmt.Errorf("sandbox %s: %w", podUID, err)
		}
	}
	var spec saved
	if err := readJSON(filepath.Join(dir, "sandbox.json"), &spec); err == nil && spec.CgroupPath != "" {
		if err := cgroup.Remove(ctx, spec.CgroupPath); err != nil {
			return fmt.Errorf("sandbox %s: %w", podUID, err)
		}
	}
	if err := m.after("end of the cgroup"); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// observed is a sandbox as it is found. Namespaces that are not pinned are empty.
func observed(dir, podUID string, record process, alive bool) Sandbox {
	pid := 0
	if alive {
		pid = record.PID
	}
	paths := map[string]string{}
	for _, p := range record.pins() {
		if p.there(dir) {
			paths[p.of] = filepath.Join(dir, p.at)
		}
	}
	return Sandbox{
		PodUID: podUID, ID: record.sandbox(), Shape: record.Shape, PausePID: pid, SharedMemory: paths[shmName], Files: paths[filesName],
		Namespaces: runtime.Namespaces{Net: paths["net"], IPC: paths["ipc"], UTS: paths["uts"], PID: paths["pid"]},
	}
}

// pauseCgroup is where all pauses are, beside the cgroups of their MiniPods: nobody kills what is in it, and a MiniPod starts
// and ends with half the cgroups.
func pauseCgroup(podCgroup string) string { return filepath.Join(filepath.Dir(podCgroup), "pause") }

// writeJSON replaces a file as a whole.
func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readJSON(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, value)
}

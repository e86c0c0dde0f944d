// Package cgroup makes, fills and removes cgroups by path, the same in all hierarchies: the one of cgroup v2, or those of v1,
// each controller at its mount, and both where a machine has both.
//
// Limits of containers are runc's business. This is for what must hold whoever made a cgroup: a process in one of its own
// everywhere, so that nobody else's end takes it along; a limit for all MiniPods together; removal that leaves nothing.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// hierarchy is one tree of cgroups.
type hierarchy struct {
	root   string
	device string // as mountinfo has it: the same for all mounts of one hierarchy
	v2     bool
	cpuset bool
	memory bool
}

// hierarchies of this machine, where they are mounted.
var hierarchies = sync.OnceValue(func() []hierarchy {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseMounts(f)
})

// parseMounts finds every hierarchy once. One may be mounted again below itself, as nodes in containers do to hold a part of
// it; a process that enters it there would leave where it was put before.
func parseMounts(mountinfo io.Reader) []hierarchy {
	var out []hierarchy
	for scanner := bufio.NewScanner(mountinfo); scanner.Scan(); {
		h, ok := parseMount(scanner.Text())
		if !ok {
			continue
		}
		i := slices.IndexFunc(out, func(o hierarchy) bool { return o.device == h.device })
		switch {
		case i < 0:
			out = append(out, h)
		case len(h.root) < len(out[i].root):
			out[i] = h
		}
	}
	return out
}

// parseMount reads a line of mountinfo (proc_pid_mountinfo(5)); false if it is no cgroup hierarchy.
func parseMount(line string) (hierarchy, bool) {
	fields := strings.Fields(line)
	dash := slices.Index(fields, "-")
	if len(fields) < 10 || dash < 0 || len(fields) < dash+4 {
		return hierarchy{}, false
	}
	options := strings.Split(fields[dash+3], ",")
	switch fields[dash+1] {
	case "cgroup2":
		return hierarchy{root: fields[4], device: fields[2], v2: true, memory: true}, true
	case "cgroup":
		return hierarchy{root: fields[4], device: fields[2], cpuset: slices.Contains(options, "cpuset"), memory: slices.Contains(options, "memory")}, true
	}
	return hierarchy{}, false
}

// Create makes a cgroup, as in "/miniplane/pod123", and the ones above it, everywhere. It is no error if it is there.
func Create(path string) error {
	_, err := Make(path)
	return err
}

// Make is Create, and tells which directories were not there before it, also where it fails: for Unmake.
func Make(path string) (made []string, err error) {
	for _, h := range hierarchies() {
		if err := h.create(path, &made); err != nil {
			return made, err
		}
	}
	return made, nil
}

// Unmake takes back what Make made, as far as nobody has come to use it. Whoever makes the cgroup of something that is given up meanwhile,
// and removed with all that was above it, has made that again, and nobody else knows of it.
func Unmake(made []string) {
	for _, dir := range slices.Backward(made) {
		_ = syscall.Rmdir(dir) // in use, or gone
	}
}

func (h hierarchy) create(path string, made *[]string) error {
	dir := filepath.Join(h.root, path)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) && path != "/" && path != "." {
		if err := h.create(filepath.Dir(path), made); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o755)
	}
	switch {
	case err == nil:
		*made = append(*made, dir)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	return h.init(dir)
}

// init copies the parent's CPUs and memory nodes to a cpuset of v1, which takes no process without them. A parent without
// any was made by somebody who has not come to its init yet, and may never: it gets its own first.
func (h hierarchy) init(dir string) error {
	if !h.cpuset {
		return nil
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(own))) > 0 {
			continue
		}
		if above := filepath.Dir(dir); above != h.root {
			if err := h.init(above); err != nil {
				return err
			}
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), parent, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Enter moves a process into a cgroup that was created, everywhere.
func Enter(path string, pid int) error {
	for _, h := range hierarchies() {
		err := os.WriteFile(filepath.Join(h.root, path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
		if err != nil {
			return fmt.Errorf("enter cgroup %s: %w", path, err)
		}
	}
	return nil
}

// Remove kills what still runs in a cgroup and below, and removes it, everywhere. Nil if there is none.
func Remove(ctx context.Context, path string) error {
	if filepath.Clean(path) == "/" || !filepath.IsAbs(path) {
		return fmt.Errorf("cgroup %q is not one to remove", path)
	}
	for _, h := range hierarchies() {
		if err := removeTree(ctx, filepath.Join(h.root, path)); err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a cgroup of one hierarchy, children first. A cgroup stays busy for a moment after its last process.
func removeTree(ctx context.Context, dir string) error {
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		err := syscall.Rmdir(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			if !entry.IsDir() {
				continue
			}
			if err := removeTree(ctx, filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
		killAll(dir)
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup %s is in use: %w", dir, err)
		case <-time.After(pause):
		}
	}
}

// killAll kills the processes of one cgroup: at once where the kernel does that (v2, since 5.14), so that none is born meanwhile.
func killAll(dir string) {
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	for _, pid := range pids(dir) {
		if visiting, err := visits(dir, pid); err == nil && !visiting {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// visits tells whether of a process in a cgroup only a thread is there, and for a moment, while its first thread lives elsewhere.
// With cgroup v1 that is how the shim's server starts a container (see nodeagent/runtime/containerd/shim), and the kernel
// lists it as if it were all there. Of a cgroup that somebody else has removed since it was read, all have left: who was listed is alive
// elsewhere, and none of ours to kill.
func visits(dir string, pid int) (bool, error) {
	threads, err := os.ReadFile(filepath.Join(dir, "tasks"))
	if gone(err) {
		_, v2 := os.Stat(filepath.Join(dir, "cgroup.threads")) // which has no tasks
		return v2 != nil, nil
	}
	if err != nil {
		return false, err
	}
	if slices.Contains(strings.Fields(string(threads)), strconv.Itoa(pid)) {
		return false, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if gone(err) || errors.Is(err, syscall.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, state, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X"), nil // its first thread ended: all of it is here
}

// gone tells of an error that the cgroup is not there, or went while it was read.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) }

func pids(dir string) []int {
	out, _ := procs(dir)
	return out
}

func procs(dir string) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var out []int
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	return out, err
}

// PIDs of the processes in a cgroup, in whatever hierarchy has any.
func PIDs(path string) []int {
	var out []int
	for _, h := range hierarchies() {
		dir := filepath.Join(h.root, path)
		out = append(out, slices.DeleteFunc(pids(dir), func(pid int) bool {
			visiting, err := visits(dir, pid)
			return visiting || err != nil
		})...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Kill ends what runs in a cgroup and below, and leaves the cgroup. Where the kernel does not do that at once, what is born meanwhile may be
// left: only a container's first process takes all others along.
func Kill(path string) {
	for _, h := range hierarchies() {
		killTree(filepath.Join(h.root, path))
	}
}

func killTree(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.IsDir() {
			killTree(filepath.Join(dir, entry.Name()))
		}
	}
	killAll(dir)
}

// Empty tells whether it is certain that no process is in a cgroup: that the kernel did not tell is no such thing.
func Empty(path string) bool {
	for _, h := range hierarchies() {
		dir := filepath.Join(h.root, path)
		there, err := procs(dir)
		if err != nil && !gone(err) {
			return false
		}
		for _, pid := range there {
			if visiting, err := visits(dir, pid); err != nil || !visiting {
				return false
			}
		}
	}
	return len(hierarchies()) > 0
}

// Exists tells whether a cgroup is left in any hierarchy.
func Exists(path string) bool {
	return slices.ContainsFunc(hierarchies(), func(h hierarchy) bool {
		_, err := os.Stat(filepath.Join(h.root, path))
		return err == nil
	})
}

// Children are the names of the cgroups right below one.
func Children(path string) []string {
	var out []string
	for _, h := range hierarchies() {
		entries, _ := os.ReadDir(filepath.Join(h.root, path)) // it may not be in all of them
		for _, entry := range entries {
			if entry.IsDir() {
				out = append(out, entry.Name())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// OOMKills is how many processes of a cgroup the kernel killed for want of memory; 0 also where that is not known.
func OOMKills(path string) int {
	if path == "" {
		return 0
	}
	for _, h := range hierarchies() {
		file := "memory.oom_control"
		if h.v2 {
			file = "memory.events"
		}
		if !h.memory {
			continue
		}
		text, err := os.ReadFile(filepath.Join(h.root, path, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			var n int
			if _, err := fmt.Sscanf(line, "oom_kill %d", &n); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}

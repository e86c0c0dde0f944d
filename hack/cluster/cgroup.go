//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const cgroupMount = "/sys/fs/cgroup"

// hierarchies are the mount points of the machine's cgroup hierarchies: one with cgroup v2 alone, several with v1.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		return []string{cgroupMount}
	}
	found, _ := filepath.Glob(filepath.Join(cgroupMount, "*", "cgroup.procs"))
	for i, f := range found {
		found[i] = filepath.Dir(f)
	}
	return found
}

// trackingHierarchy is the one by which our processes are found again. Membership is inherited, so that a shim that
// containerd started is found there too, also after a crash of everything that knew of it.
func trackingHierarchy() (string, error) {
	for _, h := range hierarchies() {
		if h == cgroupMount || filepath.Base(h) == "pids" {
			return h, nil
		}
	}
	return "", fmt.Errorf("neither cgroup v2 nor the pids controller of v1 is mounted below %s", cgroupMount)
}

// makeCgroup makes a cgroup in the tracking hierarchy and returns its directory.
func makeCgroup(path string) (dir string, err error) {
	h, err := trackingHierarchy()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(h, path)
	return dir, os.MkdirAll(dir, 0o755)
}

// joinCgroup moves this process into the cgroup.
func joinCgroup(path string) error {
	dir, err := makeCgroup(path)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644)
}

// startInCgroup starts a command that is in the cgroup from its first moment, so that not even a crash right then leaves a
// process that cannot be found again. With cgroup v1 it must run on a locked thread that ends afterwards: the thread joins
// and the child inherits that.
func startInCgroup(path string, cmd *exec.Cmd) error {
	dir, err := makeCgroup(path)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(dir, filepath.Join(cgroupMount, path)) { // v1: below a controller's directory
		if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(syscall.Gettid())), 0o644); err != nil {
			return err
		}
		return cmd.Start()
	}
	fd, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = fd.Close() }()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(fd.Fd())
	return cmd.Start()
}

// cgroupProcesses lists the processes below these cgroups, in all hierarchies, without ourselves.
func cgroupProcesses(paths ...string) []int {
	seen := map[int]bool{os.Getpid(): true}
	var pids []int
	eachCgroup(paths, func(dir string) {
		data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for field := range bytes.FieldsSeq(data) {
			pid, err := strconv.Atoi(string(field))
			if err == nil && !seen[pid] && !zombie(pid) {
				seen[pid] = true
				pids = append(pids, pid)
			}
		}
	})
	return pids
}

func zombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	state, _, err := parseStat(string(data))
	return err == nil && (state == "Z" || state == "X")
}

// eachCgroup visits the directories of these cgroups and of all below them, in every hierarchy, parents first.
func eachCgroup(paths []string, visit func(dir string)) {
	for _, h := range hierarchies() {
		for _, path := range paths {
			_ = filepath.WalkDir(filepath.Join(h, path), func(dir string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					visit(dir)
				}
				return nil
			})
		}
	}
}

// killCgroups kills every process below the cgroups, also those that are born meanwhile, and returns how many it met.
func killCgroups(paths ...string) (int, error) {
	met := map[int]bool{}
	gone := waitFor(killTimeout, func() bool {
		pids := cgroupProcesses(paths...)
		for _, pid := range pids {
			met[pid] = true
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(pids) == 0
	})
	if !gone {
		return len(met), fmt.Errorf("processes %v do not end after SIGKILL", cgroupProcesses(paths...))
	}
	return len(met), nil
}

// removeCgroups removes the cgroups, children first, and returns how many there were.
func removeCgroups(paths ...string) (int, error) {
	var dirs []string
	eachCgroup(paths, func(dir string) { dirs = append(dirs, dir) })
	var failed error
	for _, dir := range slices.Backward(dirs) {
		// A cgroup is busy for a moment after its last process ended.
		var err error
		waitFor(killTimeout, func() bool {
			err = syscall.Rmdir(dir)
			return !errors.Is(err, syscall.EBUSY)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("cgroup %s: %w", dir, err))
		}
	}
	return len(dirs), failed
}

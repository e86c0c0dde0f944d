//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
)

// removal counts what a sweep removed.
type removal struct {
	processes, mounts, namespaces, links, cgroups, directories int
}

func (r removal) nothing() bool { return r == removal{} }

func (r removal) String() string {
	return fmt.Sprintf("%d processes, %d mounts, %d network namespaces, %d links, %d cgroups, %d directories",
		r.processes, r.mounts, r.namespaces, r.links, r.cgroups, r.directories)
}

// sweep removes whatever there is of the cluster, in the order in which one thing keeps another alive.
func (c *Cluster) sweep() (r removal, err error) {
	if r.processes, err = killCgroups(c.cgroups()...); err != nil {
		return r, err
	}
	if r.mounts, err = unmountBelow(c.directories()...); err != nil {
		return r, err
	}
	if err := c.uncover(&r); err != nil {
		return r, err
	}
	if _, err := netlink.LinkByName(c.HostLink()); err == nil {
		r.links++
		if err := removeLink(c.HostLink()); err != nil {
			return r, err
		}
	}
	for _, name := range netnsNames(c.Layout) {
		r.namespaces++
		if err := removeNetNS(name); err != nil {
			return r, err
		}
	}
	if r.cgroups, err = removeCgroups(c.cgroups()...); err != nil {
		return r, err
	}
	return r, c.removeFiles(&r)
}

// uncover takes away what hides a directory of the machine's own, and leaves the mounts of others in that alone.
func (c *Cluster) uncover(r *removal) error {
	mounted, err := isMount(stockDir)
	if err != nil || !mounted || !c.full {
		return err
	}
	r.mounts++
	if err := syscall.Unmount(stockDir, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", stockDir, err)
	}
	return nil
}

// directories hold all files of the cluster; the one with the state comes last.
func (c *Cluster) directories() []string {
	return append(slices.Clone(c.whole), c.DataDir(), c.RunDir())
}

// cgroups hold all processes of the cluster. An agent that runs in a Pod makes one of its own.
func (c *Cluster) cgroups() []string {
	if c.full {
		return []string{c.Cgroup(), agentCgroup}
	}
	return []string{c.Cgroup()}
}

// removeFiles removes the directories, and the kubeconfig that leads nowhere now. Logs and images stay in the clone.
func (c *Cluster) removeFiles(r *removal) error {
	for _, dir := range c.directories() { // the state file last
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		r.directories++
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.Remove(c.Kubeconfig()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeEmptyDirs removes these directories and those in them as far as nobody else has put anything there.
func removeEmptyDirs(roots []string) (removed int) {
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(root, func(dir string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, dir)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if os.Remove(dir) == nil {
				removed++
			}
		}
	}
	return removed
}

// unmountBelow unmounts all below the directories, and returns how many mounts there were.
func unmountBelow(dirs ...string) (int, error) {
	points, err := mountsBelow(dirs...)
	if err != nil {
		return 0, err
	}
	for _, point := range points {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return len(points), nil
}

// leftovers lists what is still there of the cluster, one line each.
func (c *Cluster) leftovers() []string {
	var left []string
	for _, pid := range cgroupProcesses(c.cgroups()...) {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	mounts, err := mountsBelow(c.directories()...)
	if err != nil {
		left = append(left, err.Error())
	}
	for _, m := range mounts {
		left = append(left, "mount "+m)
	}
	for _, name := range netnsNames(c.Layout) {
		left = append(left, "network namespace "+name)
	}
	if _, err := netlink.LinkByName(c.HostLink()); err == nil {
		left = append(left, "link "+c.HostLink())
	}
	eachCgroup(c.cgroups(), func(dir string) { left = append(left, "cgroup "+dir) })
	for _, dir := range c.directories() {
		if _, err := os.Stat(dir); err == nil {
			left = append(left, "directory "+dir)
		}
	}
	return left
}

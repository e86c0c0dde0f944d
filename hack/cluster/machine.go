//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wholeDirs are where programs of a full cluster put files outside of its own directories.
var wholeDirs = append([]string{"/var/lib/kubelet", "/var/log/containers", "/var/log/pods", "/var/lib/cni"}, sharedMounts...)

// sharedMounts are the directories in which an agent mounts for others to see, which only works in a shared mount.
var sharedMounts = []string{"/run/miniplane", "/var/lib/miniplane"}

// wholeRunDirs are the directories of a full cluster's node that are in memory on any machine.
var wholeRunDirs = []string{"/run/miniplane", stockDir}

// kubeletSysctls are the machine's settings that a kubelet changes.
var kubeletSysctls = []string{
	"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// claimFull looks whether the machine can be the node of a full cluster, and notes what of it will change.
func (s *State) claimFull() error {
	if dialUnix(stockSocket) == nil {
		return fmt.Errorf("another containerd runs at %s; a full cluster needs that place", stockSocket)
	}
	if len(cgroupProcesses(agentCgroup)) > 0 {
		return fmt.Errorf("there are processes in the cgroup %s: this machine is a node of another cluster", agentCgroup)
	}
	for _, dir := range sharedMounts {
		_ = os.Remove(dir) // if empty
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("there is something in %s: this machine is, or was, a node of another cluster", dir)
		}
	}
	s.Whole, s.Sysctls = missingDirs(wholeDirs), map[string]string{}
	for _, name := range kubeletSysctls {
		if value, err := os.ReadFile(filepath.Join("/proc/sys", name)); err == nil {
			s.Sysctls[name] = strings.TrimSpace(string(value))
		}
	}
	return nil
}

// restoreSysctls gives the machine its settings back.
func (s *State) restoreSysctls() {
	for name, value := range s.Sysctls {
		_ = os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644)
	}
}

// ensureEverywhere makes a cgroup in every hierarchy, as a kubelet wants its root. In cpuset of cgroup v1, a new cgroup has
// no CPUs before it is given some.
func ensureEverywhere(path string) error {
	for _, h := range hierarchies() {
		dir := h
		for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if filepath.Base(h) != "cpuset" {
				continue
			}
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				value, err := os.ReadFile(filepath.Join(parent, file))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, file), value, 0o644)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ensureSharedMount makes a directory a mount, unless it is one, and shared.
func ensureSharedMount(dir string) error {
	mounted, err := isMount(dir)
	if err == nil && !mounted {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			err = syscall.Mount(dir, dir, "", syscall.MS_BIND, "")
		}
	}
	if err == nil {
		err = syscall.Mount("", dir, "", syscall.MS_SHARED, "")
	}
	if err != nil {
		return fmt.Errorf("shared mount %s: %w", dir, err)
	}
	return nil
}

// ensureInMemory makes a directory one in memory, as /run and all below it is where an init system made it.
func ensureInMemory(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("file system of %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		return nil
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("tmpfs on %s: %w", dir, err)
	}
	return nil
}

func isMount(dir string) (bool, error) {
	points, err := mountsBelow(dir)
	return slices.Contains(points, dir), err
}

// ensureNativeRoutes lets the API server reach native Pods and Services, for webhooks.
func ensureNativeRoutes(l Layout) error {
	return inNetNS(l.ControlPlane(), func() error {
		for _, text := range []string{nativePodRange, nativeServiceRange} {
			to := netip.MustParsePrefix(text)
			route := &netlink.Route{
				Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Gw: l.NodeIP(0).AsSlice(),
			}
			if err := netlink.RouteReplace(route); err != nil {
				return fmt.Errorf("route to %s: %w", to, err)
			}
		}
		return nil
	})
}

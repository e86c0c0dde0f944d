//go:build linux && cgo

package shim

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
	"miniplane.dev/miniplane/test/containerdenv"
)

// TestServerOutlivesALimit: a thread of the server that starts a container needs memory while it is in the container's cgroup. With a
// limit that leaves it none it would look for some for ever, for nobody is there to be killed.
func TestServerOutlivesALimit(t *testing.T) {
	containerdenv.RequireRoot(t)
	if cgroups.IsCgroup2UnifiedMode() {
		t.Skip("SKIPPED: with cgroup v2 no thread of the server enters a container's cgroup")
	}
	const limit = 64 << 10
	path := filepath.Join("/", "miniplane-test-home-"+strconv.Itoa(os.Getpid()), "c")
	resources := &cgroups.Resources{Memory: limit, MemorySwap: limit, CpuShares: 2, CpuQuota: 1000, CpuPeriod: 100_000}
	h, err := newHome(&configs.Config{Cgroups: &cgroups.Cgroup{Path: path, Resources: resources}})
	if err != nil {
		t.Fatal(err)
	}
	limitFile, quotaFile := filepath.Join(h.v1.Path("memory"), "memory.limit_in_bytes"), filepath.Join(h.v1.Path("cpu"), "cpu.cfs_quota_us")
	t.Cleanup(func() {
		_ = os.WriteFile(limitFile, []byte("-1"), 0) // lets a thread go that looks for memory
		if err := h.remove(context.Background()); err != nil {
			t.Error(err)
		}
	})

	done := make(chan error, 1)
	go func() {
		done <- h.inside(func() error {
			// What the kernel counts for the thread, and not for its process, are tables of pages: one for each 2 MiB of addresses.
			const each, tables = 2 << 20, 64
			memory, err := unix.Mmap(-1, 0, tables*each, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return err
			}
			for i := 0; i < len(memory); i += each {
				memory[i] = 1
			}
			return unix.Munmap(memory)
		})
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the thread does not come back")
	}

	has := func(file, want string) {
		t.Helper()
		if text, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(text)) != want {
			t.Errorf("%s is %q, not %q: %v", file, text, want, err)
		}
	}
	has(quotaFile, "-1") // a thread that waits for its share of the cpu lets others wait
	if err := h.bound(); err != nil {
		t.Fatal(err)
	}
	has(limitFile, strconv.Itoa(limit))
	has(quotaFile, "1000")
}

// TestServerStaysOutside: what is executed in a container that runs enters its cgroup by itself, for others run there, and what is left
// of its memory and its share of the cpu may be nothing.
func TestServerStaysOutside(t *testing.T) {
	containerdenv.RequireRoot(t)
	if cgroups.IsCgroup2UnifiedMode() {
		t.Skip("SKIPPED: with cgroup v2 no thread of the server enters a container's cgroup")
	}
	path := filepath.Join("/", "miniplane-test-beside-"+strconv.Itoa(os.Getpid()), "c")
	h, err := newHome(&configs.Config{Cgroups: &cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p := &libcontainer.Process{}
	err = h.beside(p, []*os.File{os.Stdout}, func() error {
		own, err := os.ReadFile("/proc/thread-self/cgroup")
		if strings.Contains(string(own), path) {
			t.Errorf("the thread is inside: %s", own)
		}
		if len(p.ExtraFiles) != len(cgroup.Legacy())+1 {
			t.Errorf("%d ways in for %d hierarchies", len(p.ExtraFiles), len(cgroup.Legacy()))
		}
		return err
	})
	if err != nil || p.ExtraFiles != nil {
		t.Errorf("%v; left %v", err, p.ExtraFiles)
	}
}

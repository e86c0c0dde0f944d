package containerd_test

import (
	"fmt"
	"syscall"
	"testing"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/runtime/conformance"
)

// sharing is a node whose containers share shims.
func sharing(t testing.TB) *node {
	t.Helper()
	n := newNode(t)
	c := n.Client(t)
	defer c.Close()
	if version, err := c.Version(t.Context()); err != nil || version.Version < "2" || version.Version[0] == '1' || version.Version[:2] == "v1" {
		t.Skipf("SKIPPED: shims are shared from containerd 2 on, this is %s, %v", version.Version, err)
	}
	n.opts.ContainersPerShim = 4
	return n
}

func TestConformanceSharedShims(t *testing.T) {
	n := sharing(t)
	conformance.Run(t, conformance.Harness{
		New:          func(t *testing.T) runtime.Runtime { return n.runtime(t) },
		Image:        busybox,
		Missing:      "127.0.0.1:1/missing:test",
		Command:      func(p conformance.Program) []string { return shell(p.Script()) },
		CgroupParent: n.parent,
		Leftovers:    n.leftovers,
	})
	must(t, n.runtime(t).EndHosts(t.Context()))
	eventually(t, func() string {
		if left := n.shims(); len(left) > 0 {
			return fmt.Sprintf("shims left: %v", left)
		}
		return ""
	})
}

// TestShimsAreShared: as many containers to a shim as are allowed, over restarts of the agent and of containerd.
func TestShimsAreShared(t *testing.T) {
	n := sharing(t)
	r := n.runtime(t)
	shims := map[int]int{}
	for i := range 8 {
		if i == 3 {
			must(t, r.Close())
			r = n.runtime(t)
		}
		if i == 6 {
			n.Kill()
			n.Run(t)
		}
		id := fmt.Sprintf("shares-%d", i)
		n.start(t, r, id, "sleep 1000")
		shims[parent(t, awaits(t, r, id, runtime.StateRunning).PID)]++
	}
	if len(shims) > 3 {
		t.Errorf("8 containers have %d shims: %v", len(shims), shims)
	}
	for pid, users := range shims {
		if users > 4 {
			t.Errorf("shim %d has %d containers", pid, users)
		}
	}
}

// TestHostLost: when a shared shim dies its containers end, new ones get another, and nothing is left at the end.
func TestHostLost(t *testing.T) {
	n := sharing(t)
	r := n.runtime(t)
	for i := range 3 {
		n.start(t, r, fmt.Sprintf("before-%d", i), "sleep 1000")
	}
	must(t, syscall.Kill(parent(t, awaits(t, r, "before-0", runtime.StateRunning).PID), syscall.SIGKILL))
	eventually(t, func() string { // the agent tries again as it would after a failed start
		spec := runtime.ContainerSpec{ID: "after", Group: "after", Image: busybox, Command: shell("sleep 1000"), CgroupPath: n.parent + "/podafter/after"}
		must(t, r.Create(t.Context(), spec))
		if err := r.Start(t.Context(), "after"); err != nil {
			must(t, r.Remove(t.Context(), "after"))
			return err.Error()
		}
		return ""
	})
	awaits(t, r, "after", runtime.StateRunning)
	must(t, r.Remove(t.Context(), "after"))
	for i := range 3 {
		must(t, r.Remove(t.Context(), fmt.Sprintf("before-%d", i)))
	}
	must(t, r.Close())
	must(t, n.runtime(t).EndHosts(t.Context()))
	eventually(t, func() string {
		if left := n.shims(); len(left) > 0 {
			return fmt.Sprintf("shims left: %v", left)
		}
		return ""
	})
}

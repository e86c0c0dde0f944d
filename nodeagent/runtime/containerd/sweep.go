package containerd

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"
)

// groupLength is the length of a MiniPod's UID, with which the ID of every container of its group begins.
const groupLength = 36

// Sweep gives back the leases of earlier agents, ends shims that nothing refers to, and takes away what containerd left of containers whose
// server failed (see leftover).
func (r *Runtime) Sweep(ctx context.Context) error {
	r.sweeping.Lock()
	defer r.sweeping.Unlock()
	if err := r.release(ctx); err != nil {
		return err
	}
	return errors.Join(r.endShims(ctx), r.clearLeftovers(ctx))
}

// endShims ends shims that nothing refers to. When the agent dies while containerd starts a shim for it, containerd gives the call up and
// forgets the shim, but the shim may have gone its own way already. One is ended when two sweeps in a row found no container of its group,
// because a container that is being made may have its record a moment later.
func (r *Runtime) endShims(ctx context.Context) error {
	shims, err := r.shims()
	if err != nil {
		return err
	}
	if len(shims) == 0 { // as where all containers have our own; records are long to read
		r.suspects = nil
		return nil
	}
	records, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return native(err)
	}
	groups := map[string]bool{}
	for _, record := range records {
		groups[groupOf(record.ID)] = true
	}
	suspects := map[int]string{}
	for pid, id := range shims {
		switch {
		case groups[groupOf(id)]:
		case r.suspects[pid] == id:
			_ = syscall.Kill(pid, syscall.SIGKILL)
		default:
			suspects[pid] = id
		}
	}
	r.suspects = suspects
	return nil
}

// groupOf is what the IDs of containers that share a shim have in common.
func groupOf(id string) string {
	if len(id) < groupLength {
		return id
	}
	return id[:groupLength]
}

// shims finds the shims of this containerd and namespace: the ID that each was started for, by PID.
func (r *Runtime) shims() (map[int]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	out := map[int]string{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err != nil {
			continue // it ended
		}
		if id, ours := r.shimOf(cmdline); ours {
			out[pid] = id
		}
	}
	return out, nil
}

// shimOf reads the command line of a running shim, as in "containerd-shim-runc-v2 -namespace N -id I -address A".
func (r *Runtime) shimOf(cmdline []byte) (id string, ours bool) {
	args := bytes.Split(bytes.TrimSuffix(cmdline, []byte{0}), []byte{0})
	if !bytes.HasSuffix(args[0], []byte("containerd-shim-runc-v2")) || len(args) != 7 {
		return "", false // or a shim's own short-lived helper, which has a command too
	}
	flags := map[string]string{}
	for i := 1; i+1 < len(args); i += 2 {
		flags[string(args[i])] = string(args[i+1])
	}
	return flags["-id"], flags["-namespace"] == r.opts.Namespace && flags["-address"] == r.opts.Address
}

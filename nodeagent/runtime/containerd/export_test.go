package containerd

import (
	"errors"
	"os"
	"time"
)

// Lease is for tests that need one of the agent's own.
var Lease = (*Runtime).lease

// Unhear makes a container's marker what it is when the answer to its start was lost.
func (r *Runtime) Unhear(id string) error {
	m := r.marked(id)
	m.letGo = false
	return r.mark(id, m)
}

// Mark makes a container's marker what it is when its process was made and the agent died before it heard that it was let go.
func (r *Runtime) Mark(id string, pid int) error {
	m := marker{}
	m.process, m.server = family(pid)
	return errors.Join(os.MkdirAll(r.dir(id), 0o700), r.mark(id, m))
}

// Hasten has a sweep wait for less long until it takes what servers left for that.
func (r *Runtime) Hasten(settled time.Duration) { r.settled = settled }

package containerd

// Lease is for tests that need one of the agent's own.
var Lease = (*Runtime).lease

// Unhear makes a container's marker what it is when the answer to its start was lost.
func (r *Runtime) Unhear(id string) error {
	m := r.marked(id)
	m.letGo = false
	return r.mark(id, m)
}

package sandbox

import (
	"context"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// Spec says what a sandbox is for.
type Spec struct {
	// PodUID identifies the sandbox.
	PodUID string
	// Hostname inside the sandbox's UTS namespace.
	Hostname string
	// CgroupPath is the cgroup of the MiniPod, made here and removed with the sandbox. The pause process is in the cgroup
	// "pause" beside it, with those of other sandboxes.
	CgroupPath string
	// CPUMillis is what the MiniPod asks for, in thousandths of a cpu: its weight against others when there is not enough for all.
	CPUMillis int64
	// MaxPIDs is how many processes and threads the MiniPod may have; 0 is no limit.
	MaxPIDs int64
	// Shape of the sandbox.
	Shape
	// MaxMemory is how many bytes of memory the MiniPod may have, beside the limits of its containers; 0 is no limit.
	MaxMemory int64
}

// Shape says which namespaces a sandbox has of its own. The zero value is what nearly all have: network, IPC and UTS, and each container its
// own PIDs.
type Shape struct {
	// HostNetwork: the network of the agent, and its host name.
	HostNetwork bool `json:",omitempty"`
	// HostIPC: the IPC namespace of the agent.
	HostIPC bool `json:",omitempty"`
	// SharePIDs: the pause is the first process of a PID namespace that all containers join.
	SharePIDs bool `json:",omitempty"`
}

// Sandbox is what containers of one MiniPod share.
type Sandbox struct {
	PodUID string
	// ID is another one for each time that namespaces were made for the MiniPod. A new pause that joins them changes nothing.
	ID string
	// Shape that it was made in.
	Shape
	// PausePID of the process that keeps the namespaces; 0 if it died (the pins still hold them).
	PausePID   int
	Namespaces runtime.Namespaces
	// SharedMemory is a directory in memory that every container of the MiniPod gets as its /dev/shm.
	SharedMemory string
	// Files is a directory in memory, of little room, for single files that containers of the MiniPod are given.
	Files string
}

// Manager makes and removes sandboxes. All that it must remember is in the kernel and under its state directory, so that
// a new one goes on where another was killed.
type Manager interface {
	// Ensure makes the sandbox, or returns the one that is there. Half-made ones are made whole or anew.
	Ensure(ctx context.Context, spec Spec) (Sandbox, error)
	// List finds all sandboxes, whole or half-made.
	List(ctx context.Context) ([]Sandbox, error)
	// Remove ends the pause process and removes pins, cgroups and directories. Nil if there is nothing.
	Remove(ctx context.Context, podUID string) error
}

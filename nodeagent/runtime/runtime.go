// Package runtime is what the agent needs of a container runtime, and nothing more: images that are present or pulled,
// containers that run in namespaces made elsewhere, and a stream of what happens to them.
//
// The runtime is the memory of the agent. A container carries its MiniPod's identity in labels and survives the agent, so
// that a new agent learns from List everything that an old one knew. Implementations are in the packages below; the suite
// in conformance runs on each of them.
package runtime

import (
	"context"
	"time"
)

// Labels that identify a container's MiniPod to a new agent.
const (
	LabelPodUID       = "miniplane.dev/pod-uid"
	LabelPodName      = "miniplane.dev/pod-name"
	LabelPodNamespace = "miniplane.dev/pod-namespace"
	LabelContainer    = "miniplane.dev/container"
	// LabelAttempt counts the starts of one container of one MiniPod, from 0.
	LabelAttempt = "miniplane.dev/attempt"
	// LabelSpecHash changes whenever the container must be replaced by one of another spec.
	LabelSpecHash = "miniplane.dev/spec-hash"
)

// Runtime runs containers. Its methods are safe for concurrent use. Errors wrap the classes of
// github.com/containerd/errdefs: NotFound, AlreadyExists, Unavailable and DeadlineExceeded (see IsUnanswered),
// Unauthenticated and PermissionDenied (from a registry), InvalidArgument.
type Runtime interface {
	// Version of the runtime, as in "containerd://2.4.2".
	Version(ctx context.Context) (string, error)

	// Image looks up an image that is present. NotFound if it is not.
	Image(ctx context.Context, ref string) (Image, error)
	// PullImage brings an image from its registry, unpacked and ready to run, and keeps in mind who may run it. The registry is asked
	// also where the image is present. Auths may be empty.
	PullImage(ctx context.Context, ref string, auths []RegistryAuth) (Image, error)
	// Images lists all that are present.
	Images(ctx context.Context) ([]Image, error)

	// MountImage mounts the files of an image, by one of its names and its ID, at a directory that is there: read-only, and without devices and programs. They are kept
	// for the holder, whatever becomes of the image, until Release. NotFound if the image is not there any more.
	MountImage(ctx context.Context, holder string, image Image, target string) error
	// Release gives back what is kept for a holder, who has unmounted it all. Nil if there is nothing.
	Release(ctx context.Context, holder string) error
	// Holders are all for whom something is kept, or was mounted before the machine was started anew.
	Holders(ctx context.Context) ([]string, error)

	// Create prepares a container: its file system and its record. It does not run anything. AlreadyExists if a container
	// of this ID is there; NotFound if the image is not; ErrSettings if its Security cannot be had.
	Create(ctx context.Context, spec ContainerSpec) error
	// Start runs a created container. Its output goes to the log file of its spec from then on. ErrNoRoom if there is no room for a process.
	Start(ctx context.Context, id string) error
	// Kill sends a signal, StopSignal for the container's own, to the container's first process. NotFound when it does not run.
	Kill(ctx context.Context, id string, signal Signal) error
	// Exec runs a command in a running container and waits for its end. Nothing follows about the command from an error: it could not
	// be started, or nobody tells how it ended. NotFound if there is no such container.
	Exec(ctx context.Context, id string, command Command) (Executed, error)
	// Remove deletes a container and everything it had, killing it first if it runs. It is complete: when it returns nil
	// no process, mount, snapshot, record or cgroup of the container is left. Nil if there is no such container.
	Remove(ctx context.Context, id string) error

	// List observes all containers of the agent's namespace. One server of containers that does not answer holds nobody
	// up: what it alone could tell is StateUnanswered.
	List(ctx context.Context) ([]Container, error)
	// Inspect observes one container, as List does all. NotFound if there is none.
	Inspect(ctx context.Context, id string) (Container, error)
	// Sweep looks for what the runtime has lost: processes of its own, which it ends, and what failed servers left of containers that were never
	// let go, which it takes away. A container that was let go, or of which that is not certain, is left alone.
	Sweep(ctx context.Context) error
	// Events delivers what happens from now on, until ctx ends; then, or when the connection is lost, the channel is
	// closed. After a loss the caller lists and subscribes again. Events may be repeated.
	Events(ctx context.Context) (<-chan Event, error)
}

// RegistryAuth is one way to log in to a registry, from a pull secret.
type RegistryAuth struct {
	// Registry is the key of the docker config: a host, with or without a port, scheme and path.
	Registry string
	Username string
	Password string
	// Secret that it is from, as namespace/name/uid; empty if it is from none.
	Secret string
}

// Image is an image on the node.
type Image struct {
	// Names under which it can be run.
	Names []string
	// ID is the digest of its configuration, as in "sha256:…".
	ID string
	// SizeBytes of its content.
	SizeBytes int64
	// Access says who may run it under the name that it was asked for; package imageaccess reads it. Empty: everybody.
	Access string
}

// ContainerSpec says what to run.
type ContainerSpec struct {
	// ID is unique on the node, at most 76 characters of [A-Za-z0-9_.-].
	ID string
	// Group names what shares one shim: the MiniPod's UID.
	Group string
	// Labels of the container; the package's own label constants at least.
	Labels map[string]string
	// Image is a reference that Image knows. ImageID, if it is given, is the image that must be found there: the name may have been
	// given to another one since somebody decided that this one may be run.
	Image, ImageID string
	// Command and Args replace the image's entry point and arguments when not empty, by the rules of core/v1: a Command
	// alone drops the image's arguments too.
	Command, Args []string
	// WorkingDir replaces the image's when not empty.
	WorkingDir string
	// Env is added to the image's, as NAME=value.
	Env []string
	// Hostname as the container's environment knows it (HOSTNAME).
	Hostname string
	// Namespaces of the sandbox to join.
	Namespaces Namespaces
	// Mounts from the host.
	Mounts []Mount
	// VolumesDir is where to make the directories that the image calls volumes, but for those at whose paths there are Mounts; there are none
	// when it is empty. It does not exist where the image has none. Whoever names it removes it, with whatever the container put there, when the
	// container is removed.
	VolumesDir string
	// CopyTurn copies into them what the image has there, when there is a place for it, unless ctx ends first. It takes as long as who made the image likes. Nil
	// is to copy at once.
	CopyTurn func(ctx context.Context, do func())
	// CgroupPath is the absolute cgroup of the container, as in /miniplane/pod<uid>/<id>.
	CgroupPath string
	Resources  Resources
	// Security is as whom it runs and what it may do.
	Security Security
	// StopSignal is the signal by which it is asked to end; the image's when 0.
	StopSignal Signal
	// LogPath is the file that gets the output, in the CRI log format. Its directory exists.
	LogPath string
}

// Namespaces are paths of pinned namespaces.
type Namespaces struct {
	Net, IPC, UTS string
	// PID is that of all containers of the MiniPod, or HostPID; empty for one of the container's own.
	PID string
}

// HostPID stands for the PID namespace of the machine.
const HostPID = "host"

// Mount is a bind mount.
type Mount struct {
	HostPath, ContainerPath string
	ReadOnly                bool
	// Recursive says that what is mounted in it is read-only too. ErrSettings where that cannot be had.
	Recursive bool
	// NoExec says that no program and no device in it can be used.
	NoExec bool
	// Propagation says which mounts that are made in it later are seen in the container, and which of the container outside.
	Propagation Propagation
}

// Propagation of mounts that are made later.
type Propagation string

// Ways of mounts.
const (
	PropagationNone Propagation = ""
	PropagationIn   Propagation = "in"
	PropagationBoth Propagation = "both"
)

// Resources limit a container. Zero means no limit, except for CPUShares, where it means the least.
type Resources struct {
	// CPUShares is the cgroup v1 weight, 2 to 262144.
	CPUShares uint64
	// CPUQuota is the CPU time in microseconds per CPUPeriod microseconds.
	CPUQuota  int64
	CPUPeriod uint64
	// MemoryLimit in bytes.
	MemoryLimit int64
	// OOMScoreAdj from -1000 to 1000; clamped to what the process may set.
	OOMScoreAdj int
}

// State is where a container is in its life.
type State string

// States of a container.
const (
	// StateCreated: prepared, never started.
	StateCreated State = "Created"
	// StateRunning: its first process runs.
	StateRunning State = "Running"
	// StateExited: its first process ended.
	StateExited State = "Exited"
	// StateUnknown: it was started, it is proven that no process of it is left, and nobody knows how it ended, as after a
	// reboot.
	StateUnknown State = "Unknown"
	// StateUnanswered: it was started, and whoever knows what became of it does not answer. Its process may run: whoever
	// sees this waits, and looks again. One that is certain to execute the container's program is StateRunning, whoever heard of its start
	// or not; one whose process waits to be let go, by a server that is gone, stays here until Sweep takes it away.
	StateUnanswered State = "Unanswered"
)

// Container is what was observed of a container.
type Container struct {
	ID     string
	Labels map[string]string
	// Image is the reference it was created from; ImageID the digest of that image's configuration.
	Image, ImageID string
	State          State
	PID            int
	CreatedAt      time.Time
	// StartedAt is known while it runs and after; FinishedAt, ExitCode and OOMKilled after it exited. Between the two is how long it ran, also
	// where the machine's clock was set meanwhile.
	StartedAt, FinishedAt time.Time
	ExitCode              int
	OOMKilled             bool
	// ServerFailed: it ended because the runtime's own server of it failed and took it along. ExitCode says nothing then.
	ServerFailed bool
}

// EventType is what happened to a container.
type EventType string

// Event types.
const (
	EventStarted EventType = "Started"
	EventExited  EventType = "Exited"
	EventOOM     EventType = "OOM"
	EventDeleted EventType = "Deleted"
)

// Event tells that something happened to a container. It says where to look; List says what is true.
type Event struct {
	Type EventType
	// ContainerID of the container. Its MiniPod is in the labels that List shows.
	ContainerID string
	Time        time.Time
}

package podplan

import (
	"net/netip"
	"slices"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
)

// Observation is what is known about one MiniPod on its machine.
type Observation struct {
	Sandbox SandboxState
	// SandboxID is another one for each sandbox that the MiniPod ever had; empty where there is none.
	SandboxID string
	// Address is invalid when the sandbox is not attached to the network.
	Address netip.Addr
	// FilesFor is the address that the MiniPod's files (hosts and the like) were written for.
	FilesFor netip.Addr
	// Containers are all there are, of every attempt.
	Containers []Container
	// Gone tells what is proven not to be there.
	Gone Gone

	// TakenUp is when this agent first saw the MiniPod.
	TakenUp time.Time
	// Images is what is known about the image of the next container to create, by the container's name.
	Images map[string]Image
	// Jobs are those that run, or have ended well and whose results wait to be used; nil where there are none.
	Jobs map[Task]JobState
	// VolumesUntil is when volumes that were made are to be made again, because something in them expires; zero for never.
	VolumesUntil time.Time
	// VolumesPace is when they could have been made as often as they were, if it were only so often that they may be.
	VolumesPace time.Time
	// Failures are the last failed attempts to do something, by what it is a part of.
	Failures map[Task]Failure
	// Signals were sent to containers, by ID.
	Signals map[string]Sent
	// Ended is when containers ended, by ID, in the terms of this process's clock. The runtime's own time of it is by a clock
	// that may have been corrected since.
	Ended map[string]time.Time
	// LastWords are what containers that ended said at last, by ID; empty where they said nothing.
	LastWords map[string]string
	// Health is what probes found out of containers, by ID; nil where there are none.
	Health map[string]Health
	// Hooks are postStart and preStop of containers; nil where there are none.
	Hooks map[HookOf]Hook
	// EndBegan is when the end of the MiniPod began; zero if it did not, or if nobody has to wait for a turn. It is written down.
	EndBegan time.Time
	// Overdue says that it was active for too long, so that it ends and nothing is started again.
	Overdue bool
	// Evicted is why it ends because it takes more of the node than it may, so that nothing is started again; empty when it does not.
	Evicted string
	// Marks are when it reached the points of its first start. Late says that this process came when it had begun already.
	Marks Marks
	Late  bool
	// Refusal is why nothing may be made of the MiniPod as it is now; nil when it may, or when nothing is to be made.
	Refusal *podsecurity.Refusal
}

// SandboxState is how much there is of what the containers of a MiniPod share.
type SandboxState string

// States of a sandbox.
const (
	SandboxNone  SandboxState = ""
	SandboxHalf  SandboxState = "Half"  // containers that are in it may run on, but none can join
	SandboxWhole SandboxState = "Whole" // containers can join
)

// Gone tells what is proven not to be there: looked for and not found, or removed without an error.
type Gone struct {
	Network, Sandbox, Files, Volumes bool
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
	// StateUnknown: it was started, it is proven that no process of it is left, and nobody knows how it ended.
	StateUnknown State = "Unknown"
	// StateUnanswered: it was started, and whoever knows what became of it does not answer. Its process may run.
	StateUnanswered State = "Unanswered"
)

// Container is what is known about one attempt to run a container of the spec.
type Container struct {
	ID string
	// Name of the container in the spec.
	Name string
	// Attempt counts the containers of that name, from 0; Crashes how often its predecessors crashed in a row.
	Attempt, Crashes int
	// SpecHash is that of the spec that it was made from.
	SpecHash string
	// Sandbox is the ID of the sandbox that it was made in. It is noted where there are init containers, and empty elsewhere.
	Sandbox string
	// Image is the reference it was made from; ImageID the digest of that image's configuration.
	Image, ImageID string
	State          State
	// StartedAt is known while it runs and after; FinishedAt, ExitCode and OOMKilled after it exited. Between the two is how long it
	// ran, also where the machine's clock was set meanwhile.
	StartedAt, FinishedAt time.Time
	ExitCode              int
	OOMKilled             bool
	// ServerFailed: it ended because the runtime's own server of it failed and took it along. ExitCode says nothing then.
	ServerFailed bool
}

// MayRun tells whether a process of the container may be there: it runs, or nobody says that it does not.
func (c Container) MayRun() bool { return c.State == StateRunning || c.State == StateUnanswered }

// hasEnded tells whether a container ran and is certain to have ended.
func (c Container) hasEnded() bool { return c.State == StateExited || c.State == StateUnknown }

// succeeded tells whether a container is known to have ended well.
func (c Container) succeeded() bool {
	return c.State == StateExited && c.ExitCode == 0 && !c.ServerFailed
}

// madeHere tells whether a container was made in the sandbox that is there. One that does not say where it was made is taken to be.
func (o *Observation) madeHere(c Container) bool { return c.Sandbox == "" || c.Sandbox == o.SandboxID }

// ofOtherSpec tells whether a container was made from another spec.
func (c Container) ofOtherSpec(spec *miniv1.Container) bool { return c.SpecHash != SpecHash(spec) }

// Sent tells when the stop signal was sent first, and SIGKILL last; zero if it was not.
type Sent struct {
	Term, Kill time.Time
	// Left is when the end began of a container that nobody tells of, and that was sent nothing.
	Left time.Time
	// Unsure: whether the stop signal was sent is not known; it is sent again, and the time counts from the first.
	Unsure bool
	// Failed is the probe because of which it was sent; empty if it was for another reason.
	Failed miniv1.ProbeKind
}

// began is when the grace period of a container began; zero if it did not.
func (s Sent) began() time.Time {
	if s.Term.IsZero() {
		return s.Left
	}
	return s.Term
}

// NewObservation is that of a MiniPod of which nothing is on the machine.
func NewObservation() Observation {
	return Observation{Gone: Gone{Network: true, Sandbox: true, Files: true, Volumes: true}}
}

// Begin makes room for what only this process remembers, from now on.
func (o *Observation) Begin(now time.Time) {
	o.TakenUp, o.Late = now, o.Sandbox != SandboxNone || len(o.Containers) > 0
	o.Images, o.Failures = map[string]Image{}, map[Task]Failure{}
	o.Signals, o.Ended, o.LastWords = map[string]Sent{}, map[string]time.Time{}, map[string]string{}
}

// Look takes over what a new look at the machine showed, and keeps what only this process remembers.
func (o *Observation) Look(seen Observation) {
	o.Sandbox, o.SandboxID, o.Address, o.Containers, o.Gone = seen.Sandbox, seen.SandboxID, seen.Address, seen.Containers, seen.Gone
	if !o.Address.IsValid() {
		o.FilesFor = netip.Addr{}
	}
}

// NothingLeft tells whether it is proven that nothing is on the machine.
func (o *Observation) NothingLeft() bool {
	return len(o.Containers) == 0 && o.Gone.Network && o.Gone.Sandbox && o.Gone.Files && o.Gone.Volumes
}

// Set replaces or adds a container.
func (o *Observation) Set(c Container) {
	if i := o.IndexOf(c.ID); i >= 0 {
		o.Containers[i] = c
		return
	}
	o.Containers = append(o.Containers, c)
}

// Drop forgets a container.
func (o *Observation) Drop(id string) {
	if i := o.IndexOf(id); i >= 0 {
		o.Containers = slices.Delete(o.Containers, i, i+1)
	}
	delete(o.Signals, id)
	delete(o.Ended, id)
	delete(o.LastWords, id)
	delete(o.Health, id)
	delete(o.Hooks, HookOf{id, miniv1.HookPostStart})
	delete(o.Hooks, HookOf{id, miniv1.HookPreStop})
}

// IndexOf finds a container by its ID; -1 if it is not there.
func (o *Observation) IndexOf(id string) int {
	return slices.IndexFunc(o.Containers, func(c Container) bool { return c.ID == id })
}

// NoteEnds remembers when containers ended that were not known to. One that ended in the future by the runtime's clock, because
// the time was set back since, ended now.
func (o *Observation) NoteEnds(now time.Time) {
	for i := range o.Containers {
		c := &o.Containers[i]
		if _, known := o.Ended[c.ID]; known || c.State != StateExited || c.FinishedAt.IsZero() {
			continue
		}
		o.Ended[c.ID] = now.Add(-max(0, now.Sub(c.FinishedAt)))
	}
}

// endOf is when a container ended.
func (o *Observation) endOf(c Container) time.Time {
	if at, known := o.Ended[c.ID]; known {
		return at
	}
	return c.FinishedAt
}

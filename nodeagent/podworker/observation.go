package podworker

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
)

// Observation is what a worker knows about one MiniPod on this machine.
type Observation struct {
	// Sandbox is nil when there is none.
	Sandbox *sandbox.Sandbox
	// Address is invalid when the sandbox is not attached to the network.
	Address netip.Addr
	// FilesFor is the address that the MiniPod's files (hosts and the like) were written for.
	FilesFor netip.Addr
	// Containers are all there are, of every attempt.
	Containers []runtime.Container
	// Gone tells what is proven not to be there.
	Gone Gone

	// TakenUp is when this agent first saw the MiniPod.
	TakenUp time.Time
	// Images is what is known about the image of the next container to create, by the container's name.
	Images map[string]Image
	// Failures are the last failed attempts to do something, by the container's name, podWide or teardown.
	Failures map[string]Failure
	// Signals were sent to containers, by ID.
	Signals map[string]Sent
	// Ended is when containers ended, by ID, in the terms of this process's clock. The runtime's own time of it is by a clock
	// that may have been corrected since.
	Ended map[string]time.Time
	// Refusal is why nothing may be made of the MiniPod as it is now; nil when it may, or when nothing is to be made.
	Refusal *podsecurity.Refusal
}

// Gone tells what is proven not to be there: looked for and not found, or removed without an error.
type Gone struct {
	Network, Sandbox, Files bool
}

const (
	// podWide is the key of failures to make what all containers share.
	podWide = ""
	// teardown is the key of failures to remove something.
	teardown = "-"
)

// ImageState is how far the search for an image has come.
type ImageState string

// States of an image.
const (
	ImagePresent ImageState = "Present"
	ImageMissing ImageState = "Missing"
	ImagePulling ImageState = "Pulling"
	ImageFailed  ImageState = "Failed"
	// ImageGuarded is one that is present and not for everybody: whether the MiniPod may run it is still to be found out.
	ImageGuarded ImageState = "Guarded"
)

// Image is what is known about the image that a container is to be created from.
type Image struct {
	// Ref is the reference that this speaks of.
	Ref   string
	State ImageState
	// ID of the image, when present.
	ID string
	// Access says who may run a guarded one; see package imageaccess.
	Access string
	// Failures counts the failed tries in a row, FailedAt and Message tell of the last.
	Failures int
	FailedAt time.Time
	Message  string
}

// maxWords bounds what an error says in a status and in the log, in bytes: a part of it can be a registry's or an image's words.
const maxWords = 1024

func wordsOf(err error) string { return conditions.Clip(err.Error(), maxWords) }

// Failure is a failed try, and how many there were in a row.
type Failure struct {
	// Reason as in a waiting container's status; empty when the runtime just did not answer.
	Reason  string
	Message string
	At      time.Time
	Count   int
	// SpecHash of the container that failed; a changed container is tried at once.
	SpecHash string
}

// Sent tells when SIGTERM was sent first, and SIGKILL last; zero if it was not.
type Sent struct {
	Term, Kill time.Time
	// Left is when the end began of a container that nobody tells of, and that was sent nothing.
	Left time.Time
	// Unsure: whether SIGTERM was sent is not known; it is sent again, and the time counts from the first.
	Unsure bool
}

// NewObservation is that of a MiniPod of which nothing is on the machine.
func NewObservation() Observation {
	return Observation{Gone: Gone{Network: true, Sandbox: true, Files: true}}
}

// init makes the maps.
func (o *Observation) init() {
	if o.Images == nil {
		o.Images, o.Failures, o.Signals = map[string]Image{}, map[string]Failure{}, map[string]Sent{}
		o.Ended = map[string]time.Time{}
	}
}

// nothingLeft tells whether it is proven that nothing is on the machine.
func (o *Observation) nothingLeft() bool {
	return len(o.Containers) == 0 && o.Gone.Network && o.Gone.Sandbox && o.Gone.Files
}

// sandboxWhole tells whether containers can join the sandbox.
func (o *Observation) sandboxWhole() bool {
	if o.Sandbox == nil || o.Sandbox.PausePID == 0 {
		return false
	}
	ns := o.Sandbox.Namespaces
	return ns.Net != "" && ns.IPC != "" && ns.UTS != "" && o.Sandbox.Files != ""
}

// mayRun tells whether a process of the container may be there: it runs, or nobody says that it does not.
func mayRun(c runtime.Container) bool {
	return c.State == runtime.StateRunning || c.State == runtime.StateUnanswered
}

// history lists the containers of one name, the one that counts first: those that may run before all others, then the newest
// attempt.
func (o *Observation) history(name string) []runtime.Container {
	var out []runtime.Container
	for _, c := range o.Containers {
		if c.Labels[runtime.LabelContainer] == name {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b runtime.Container) int {
		return cmp.Or(rank(a)-rank(b), attemptOf(b)-attemptOf(a))
	})
	return out
}

func rank(c runtime.Container) int {
	if mayRun(c) {
		return 0
	}
	return 1
}

// set replaces or adds a container.
func (o *Observation) set(c runtime.Container) {
	if i := o.indexOf(c.ID); i >= 0 {
		o.Containers[i] = c
		return
	}
	o.Containers = append(o.Containers, c)
}

// drop forgets a container.
func (o *Observation) drop(id string) {
	if i := o.indexOf(id); i >= 0 {
		o.Containers = slices.Delete(o.Containers, i, i+1)
	}
	delete(o.Signals, id)
	delete(o.Ended, id)
}

// noteEnds remembers when containers ended that were not known to. One that ended in the future by the runtime's clock, because
// the time was set back since, ended now.
func (o *Observation) noteEnds(now time.Time) {
	for i := range o.Containers {
		c := &o.Containers[i]
		if _, known := o.Ended[c.ID]; known || c.State != runtime.StateExited || c.FinishedAt.IsZero() {
			continue
		}
		o.Ended[c.ID] = now.Add(-max(0, now.Sub(c.FinishedAt)))
	}
}

// endOf is when a container ended.
func (o *Observation) endOf(c runtime.Container) time.Time {
	if at, known := o.Ended[c.ID]; known {
		return at
	}
	return c.FinishedAt
}

// has tells whether the MiniPod has a container of an image: then it may have others of it, too.
func (o *Observation) has(ref, imageID string) bool {
	return slices.ContainsFunc(o.Containers, func(c runtime.Container) bool { return c.Image == ref && c.ImageID == imageID })
}

func (o *Observation) indexOf(id string) int {
	return slices.IndexFunc(o.Containers, func(c runtime.Container) bool { return c.ID == id })
}

// look takes over what a new look at the machine showed, and keeps what only this process remembers.
func (o *Observation) look(seen Observation) {
	o.Sandbox, o.Address, o.Containers, o.Gone = seen.Sandbox, seen.Address, seen.Containers, seen.Gone
	if !o.Address.IsValid() {
		o.FilesFor = netip.Addr{}
	}
}

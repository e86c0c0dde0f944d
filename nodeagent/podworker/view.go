package podworker

import (
	"k8s.io/apimachinery/pkg/types"

	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/nodeagent/volumes"
)

// view is what is known of one MiniPod on this machine: what plans are made from, and what it takes besides to do them.
type view struct {
	podplan.Observation
	box *sandbox.Sandbox // nil when there is none
	// objects are what the variables of the next container of a name come from. They may be secret, and are kept until it is made.
	objects map[string]volumes.Objects
	// holds says that layers of images may be kept for its volumes.
	holds bool
	// owner is the MiniPod that the containers of a look say they were made for; empty when there are none.
	owner types.NamespacedName
}

// newView is that of a MiniPod of which nothing is on the machine.
func newView() view { return view{Observation: podplan.NewObservation()} }

// setBox takes over what is known of the sandbox; nil when it is certain that there is none.
func (v *view) setBox(box *sandbox.Sandbox) {
	v.box, v.Gone.Sandbox, v.SandboxID = box, box == nil, ""
	if box != nil {
		v.SandboxID = box.ID
	}
	switch {
	case box == nil:
		v.Sandbox = podplan.SandboxNone
	case box.PausePID != 0 && box.Namespaces.Net != "" && box.Namespaces.IPC != "" && box.Namespaces.UTS != "" && box.Files != "":
		v.Sandbox = podplan.SandboxWhole
	default:
		v.Sandbox = podplan.SandboxHalf
	}
}

// take takes over what a new look at the machine showed, and keeps what only this process remembers.
func (v *view) take(seen *view) {
	v.box, v.holds = seen.box, v.holds || seen.holds
	v.Look(seen.Observation)
}

// ownerOf is the MiniPod that a container says it was made for.
func ownerOf(c runtime.Container) types.NamespacedName {
	return types.NamespacedName{Namespace: c.Labels[runtime.LabelPodNamespace], Name: c.Labels[runtime.LabelPodName]}
}

package podworker

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
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

// suit adds what only the MiniPod tells. A sandbox of another shape, as an agent made it that did not know the MiniPod's, is as good as a half one.
// The address of a MiniPod in the node's network is the node's, which nobody gave it and nobody takes back.
func (v *view) suit(pod *miniv1.MiniPod, nodeIP string) {
	if pod == nil || v.Sandbox != podplan.SandboxWhole {
		return
	}
	switch {
	case v.box.Shape != shapeOf(&pod.Spec):
		v.Sandbox = podplan.SandboxHalf
	case pod.Spec.HostNetwork:
		v.Address, _ = netip.ParseAddr(nodeIP)
	}
}

// shapeOf is that of the MiniPod's sandbox.
func shapeOf(spec *miniv1.MiniPodSpec) sandbox.Shape {
	return sandbox.Shape{HostNetwork: spec.HostNetwork, HostIPC: spec.HostIPC, SharePIDs: spec.SharesPIDs() && !spec.HostPID}
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

package main

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/test/perf/procs"
)

// side is one of the two things that are compared: native Pods, or MiniPods. Everything that measurements need to know of
// the difference is here, so that both are measured by the same code.
type side interface {
	// name is report.Native or report.Mini.
	name() string
	// pod makes a Pod of one container, not yet created.
	pod(o podOptions) client.Object
	// application makes a Pod of an application, see applicationSpec, not yet created.
	application(namespace, name string, spec []byte) (client.Object, error)
	// list is an empty list of its kind, to list or watch.
	list() client.ObjectList
	// look says what one event showed.
	look(client.Object) look
	// replicaSet makes what keeps so many such Pods.
	replicaSet(o podOptions, replicas int32) client.Object
	// resource is how the API server calls the kind in its metrics.
	resource() string
	// records are where containerd has the containers, and the label of each that names the Pod's namespace.
	records() (containerdNamespace, label string)
	// agent is the program that looks after the containers of a node.
	agent() string
	// node are the programs that take part in running containers on a node, beside containerd.
	node() []string
	// programs are all that it takes in a cluster beside etcd, the API server and containerd.
	programs() []string
}

// podOptions say what to run.
type podOptions struct {
	namespace, name, image string
	command                []string
	// grace is terminationGracePeriodSeconds.
	grace int64
	// nodeSelector as in the spec.
	nodeSelector map[string]string
	// labels of the object, which a replica set selects by.
	labels map[string]string
}

// look is what one version of a Pod shows.
type look struct {
	bound, running, ready bool
	// restarts of its container, and whether that runs now.
	restarts  int32
	container string // the ID, the start and the restarts of the running container; empty if none runs
	// failed says why it will never run.
	failed string
}

// containerLook reads the status that both sides share the meaning of.
func containerLook(id string, running *corev1.ContainerStateRunning) string {
	if running == nil {
		return ""
	}
	return id + " since " + running.StartedAt.String()
}

// sideOf finds a side by its name.
func sideOf(name string) (side, bool) {
	for _, s := range []side{native{}, mini{}} {
		if s.name() == name {
			return s, true
		}
	}
	return nil, false
}

// onNode are all programs of a node that take part in running a side's Pods.
func onNode(s side) []string {
	return append(s.node(), procs.Containerd, procs.Workload)
}

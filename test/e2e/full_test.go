package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"miniplane.dev/miniplane/test/leaks"
)

// fullCluster is one that hack/cluster runs with all of Kubernetes, and miniplane installed on it: a node is a network namespace
// of its name with a kubelet and a containerd, and miniplane's parts are Pods.
type fullCluster struct{ localCluster }

func (c fullCluster) missing() map[need]string {
	return map[need]string{severalNodes: "a full cluster has one node; local and kind have three"}
}

func (c fullCluster) fault(t *testing.T, verb string, args ...string) {
	t.Helper()
	switch verb {
	case "manager-kill":
		pod := leader(t)
		c.kill(t, &pod)
	case "manager-start": // by the kubelet; the other manager does not wait for it
	case "agent-restart":
		restartAgent(t, args[0], c.kill)
	default:
		c.localCluster.fault(t, verb, args...)
	}
}

// kill ends the process of a Pod's container as a crash would, without the kubelet knowing beforehand.
func (c fullCluster) kill(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if out, err := c.nodeExec(pod.Spec.NodeName, killScript(t, pod)); err != nil {
		t.Fatalf("killing %s: %v\n%s", pod.Name, err, out)
	}
}

func (c fullCluster) traces(t *testing.T, node string) []string {
	return tracesIn(t, c, node, leaks.Full(node))
}

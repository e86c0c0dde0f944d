package eviction

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// MarkerStep is what is to be done with a node's drain marker.
type MarkerStep int

const (
	// MarkerKeep leaves it as it is: made, held, or absent.
	MarkerKeep MarkerStep = iota
	// MarkerCreate makes it, and then completes it.
	MarkerCreate
	// MarkerComplete says that it has ended, and then binds it to its node, in this order, so that no kubelet starts it.
	MarkerComplete
	// MarkerRelease takes the finalizer off one that is being deleted.
	MarkerRelease
	// MarkerDelete takes the finalizer off, and deletes it.
	MarkerDelete
)

// markerStep decides about the marker; left is how many MiniPods a drain still waits for.
func markerStep(seen Observed, left int) MarkerStep {
	switch marker := seen.Marker; {
	case marker == nil && seen.wanted() && (!seen.Node.Spec.Unschedulable || slices.ContainsFunc(seen.Pods, isWork)):
		return MarkerCreate
	case marker == nil:
		return MarkerKeep // of a node that was drained, not before it is uncordoned
	case marker.DeletionTimestamp != nil:
		if !slices.Contains(marker.Finalizers, miniv1.DrainFinalizer) || seen.Draining() && left > 0 {
			return MarkerKeep
		}
		return MarkerRelease
	case !seen.wanted() || !metav1.IsControlledBy(marker, seen.MiniNode):
		return MarkerDelete
	case !IsComplete(marker):
		return MarkerComplete
	}
	return MarkerKeep
}

// wanted tells whether the node is to have a marker.
func (o *Observed) wanted() bool {
	return o.WantMarkers && o.Node != nil && o.Node.DeletionTimestamp == nil && o.MiniNode != nil && o.MiniNode.DeletionTimestamp == nil
}

// IsComplete tells whether a marker is what kubectl looks for: ended, and on a node.
func IsComplete(marker *corev1.Pod) bool {
	return marker.Status.Phase == corev1.PodSucceeded && marker.Spec.NodeName != ""
}

// MarkerPrefix begins the names of all drain markers.
const MarkerPrefix = "miniplane-drain-"

// maxName is the longest name that a Pod can have.
const maxName = 253

// MarkerName is the name of a node's drain marker.
func MarkerName(node string) string {
	name := MarkerPrefix + node
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(node))
	return MarkerPrefix + hex.EncodeToString(sum[:16])
}

// MarkedNode is the name of the node that a drain marker belongs to, "" for other Pods.
func MarkedNode(marker metav1.Object) string {
	owner := metav1.GetControllerOf(marker)
	if owner == nil || owner.Kind != "MiniNode" || marker.GetLabels()[miniv1.DrainMarkerLabel] != "true" {
		return ""
	}
	return owner.Name
}

// Marker is a new drain marker. It is made so that nothing can run in it, whatever goes wrong: no scheduler knows it, and its
// image, which does not exist, must not be pulled. config/policy/markers.yaml lets the manager make no other Pods.
func Marker(node *miniv1.MiniNode) *corev1.Pod {
	yes, no, grace := true, false, int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: miniv1.SystemNamespace, Name: MarkerName(node.Name),
			Labels: map[string]string{
				miniv1.DrainMarkerLabel:       "true",
				"app.kubernetes.io/name":      "miniplane",
				"app.kubernetes.io/component": "drain-marker",
			},
			Finalizers: []string{miniv1.DrainFinalizer},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: miniv1.GroupVersion.String(), Kind: "MiniNode",
				Name: node.Name, UID: node.UID, Controller: &yes}},
		},
		Spec: corev1.PodSpec{
			SchedulerName:                 "miniplane-drain-marker",
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			// A taint would have Kubernetes delete it, again and again.
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: "marker", Image: "miniplane.dev/drain-marker", ImagePullPolicy: corev1.PullNever,
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
}

// Complete makes a marker's status that of a Pod that has ended.
func Complete(marker *corev1.Pod) {
	marker.Status.Phase = corev1.PodSucceeded
	marker.Status.Message = "nothing ever runs in this Pod: kubectl drain evicts it, and it goes when the MiniPods of its node have gone"
	marker.Status.ContainerStatuses = nil
	for _, container := range marker.Spec.Containers {
		marker.Status.ContainerStatuses = append(marker.Status.ContainerStatuses, corev1.ContainerStatus{Name: container.Name, Image: container.Image,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: miniv1.ReasonCompleted}}})
	}
}

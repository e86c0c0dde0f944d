package service

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/serviceip"
)

// setStatus writes a grant into the status.
func setStatus(service *miniv1.MiniService, grant serviceip.Grant) {
	status := &service.Status
	status.ObservedGeneration = service.Generation
	status.ClusterIP = grant.ClusterIP
	status.Ports = nil
	for _, port := range service.Spec.Ports {
		protocol := cmp.Or(port.Protocol, corev1.ProtocolTCP)
		status.Ports = append(status.Ports, miniv1.ServicePortStatus{
			Name: port.Name, Protocol: protocol, Port: port.Port,
			NodePort: grant.NodePorts[serviceip.PortKey{Port: port.Port, Protocol: string(protocol)}],
		})
	}
	status.PortSummary = portSummary(status.Ports)
	conditions.Set(&status.Conditions, ready(service, grant))
}

// portSummary writes ports the way kubectl does for native Services: "80:30080/TCP,53/UDP".
func portSummary(ports []miniv1.ServicePortStatus) string {
	parts := make([]string, len(ports))
	for i, port := range ports {
		parts[i] = fmt.Sprintf("%d/%s", port.Port, port.Protocol)
		if port.NodePort != 0 {
			parts[i] = fmt.Sprintf("%d:%d/%s", port.Port, port.NodePort, port.Protocol)
		}
	}
	return strings.Join(parts, ",")
}

func ready(service *miniv1.MiniService, grant serviceip.Grant) metav1.Condition {
	out := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAllocated,
		ObservedGeneration: service.Generation}
	if len(grant.Problems) == 0 {
		return out
	}
	messages := make([]string, len(grant.Problems))
	for i, problem := range grant.Problems {
		messages[i] = problem.Message
	}
	out.Status, out.Reason, out.Message = metav1.ConditionFalse, grant.Problems[0].Reason, strings.Join(messages, "; ")
	return out
}

// tell makes events of what a user should know and might not look up: that a wish cannot be granted, or that a port that
// was given changed.
func (r *reconciler) tell(before, after *miniv1.MiniService) {
	was := meta.FindStatusCondition(before.Status.Conditions, miniv1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, miniv1.ConditionReady)
	if is.Status == metav1.ConditionFalse && (was == nil || was.Message != is.Message) {
		r.recorder.Eventf(after, nil, corev1.EventTypeWarning, is.Reason, "Allocate", "%s", conditions.Note(is.Message))
	}
	for _, old := range before.Status.Ports {
		for _, port := range after.Status.Ports {
			moved := old.Port == port.Port && old.Protocol == port.Protocol && old.NodePort != 0 && port.NodePort != 0 && old.NodePort != port.NodePort
			if moved && before.Status.ObservedGeneration == after.Status.ObservedGeneration {
				r.recorder.Eventf(after, nil, corev1.EventTypeWarning, "NodePortChanged", "Allocate",
					"node port %d/%s was taken by a native Service; port %d has node port %d now", old.NodePort, old.Protocol, port.Port, port.NodePort)
			}
		}
	}
}

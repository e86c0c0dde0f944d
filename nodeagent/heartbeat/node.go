package heartbeat

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/internal/statuspatch"
)

// Reasons of the core Node's Ready condition.
const (
	nodeReady    = "MiniplaneReady"
	nodeNotReady = "MiniplaneNotReady"
)

// tendNode registers the core Node where no kubelet does, and keeps its status. Its labels, taints and cordon are the
// users' once it exists.
func (h *Heart) tendNode(ctx context.Context, unfit error) error {
	before := &corev1.Node{}
	key := client.ObjectKey{Name: h.NodeName}
	err := h.Reader.Get(ctx, key, before)
	if apierrors.IsNotFound(err) {
		err = h.Client.Get(ctx, key, before)
	}
	if apierrors.IsNotFound(err) {
		before = h.newNode()
		err = h.Client.Create(ctx, before)
	}
	if err != nil {
		return err
	}
	after := before.DeepCopy()
	h.setNodeStatus(&after.Status, unfit)
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	_, err = statuspatch.PatchShared(ctx, h.Client, before, after)
	return err
}

func (h *Heart) newNode() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: h.NodeName,
		Labels: map[string]string{
			corev1.LabelHostname:   h.NodeName,
			corev1.LabelOSStable:   h.Info.OperatingSystem,
			corev1.LabelArchStable: h.Info.Architecture,
		},
	}}
}

// setNodeStatus sets what is the agent's in a core Node's status. The capacity of native Pods is 0: there is no kubelet to
// run them.
func (h *Heart) setNodeStatus(status *corev1.NodeStatus, unfit error) {
	status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: h.NodeIP.String()},
		{Type: corev1.NodeHostName, Address: h.NodeName},
	}
	status.Capacity = h.Capacity.DeepCopy()
	status.Capacity[corev1.ResourcePods] = *resource.NewQuantity(0, resource.DecimalSI)
	status.Allocatable = h.Allocatable.DeepCopy()
	status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(0, resource.DecimalSI)
	status.NodeInfo.KubeletVersion = h.Info.AgentVersion
	status.NodeInfo.ContainerRuntimeVersion = h.Info.ContainerRuntimeVersion
	status.NodeInfo.KernelVersion = h.Info.KernelVersion
	status.NodeInfo.OperatingSystem = h.Info.OperatingSystem
	status.NodeInfo.Architecture = h.Info.Architecture
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: nodeReady,
		Message: "the miniplane agent can start containers"}
	if unfit != nil {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, nodeNotReady, unfit.Error()
	}
	setNodeCondition(status, ready, metav1.NewTime(h.Clock.Now()))
}

// setNodeCondition keeps the times of a condition that stays as it is, so that nothing is written then.
func setNodeCondition(status *corev1.NodeStatus, condition corev1.NodeCondition, now metav1.Time) {
	condition.LastHeartbeatTime, condition.LastTransitionTime = now, now
	for i, there := range status.Conditions {
		if there.Type != condition.Type {
			continue
		}
		if there.Status == condition.Status {
			condition.LastTransitionTime = there.LastTransitionTime
			if there.Reason == condition.Reason && there.Message == condition.Message {
				condition.LastHeartbeatTime = there.LastHeartbeatTime
			}
		}
		status.Conditions[i] = condition
		return
	}
	status.Conditions = append(status.Conditions, condition)
}

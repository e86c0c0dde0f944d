package node

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/nodelife"
)

// ByObject is what this package needs the manager's cache to hold: of all Leases those of the nodes' two witnesses, and of these
// only what beatOf reads; and the DaemonSets of miniplane's own namespace.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&coordinationv1.Lease{}: {Namespaces: map[string]cache.Config{
			miniv1.SystemNamespace:    {Transform: bare},
			corev1.NamespaceNodeLease: {Transform: bare},
		}},
		&appsv1.DaemonSet{}: {Namespaces: map[string]cache.Config{miniv1.SystemNamespace: {}}},
	}
}

// bare is a Lease without what nobody here reads: managed fields, labels and owners are most of it.
func bare(object any) (any, error) {
	lease, ok := object.(*coordinationv1.Lease)
	if !ok {
		return object, nil
	}
	lease.ObjectMeta = metav1.ObjectMeta{Namespace: lease.Namespace, Name: lease.Name, UID: lease.UID, ResourceVersion: lease.ResourceVersion}
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: lease.Spec.HolderIdentity, RenewTime: lease.Spec.RenewTime,
		LeaseDurationSeconds: lease.Spec.LeaseDurationSeconds}
	return lease, nil
}

// witnesses are those who note what a Lease of a namespace tells.
func (r *reconciler) witnesses() map[string]func(string, nodelife.Beat, time.Time) nodelife.News {
	return map[string]func(string, nodelife.Beat, time.Time) nodelife.News{
		miniv1.SystemNamespace:    r.fleet.HearAgent,
		corev1.NamespaceNodeLease: r.fleet.HearMachine,
	}
}

// beatOf is what a Lease tells of a node; ok is false for Leases that tell of none, such as the one for the manager's election,
// which is nobody's heartbeat.
func beatOf(lease *coordinationv1.Lease) (beat nodelife.Beat, ok bool) {
	if lease.Spec.RenewTime == nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != lease.Name {
		return beat, false
	}
	beat.Renewed = lease.Spec.RenewTime.Time
	if seconds := lease.Spec.LeaseDurationSeconds; seconds != nil {
		beat.Every = time.Duration(*seconds) * time.Second / 4 // kubelets and agents renew four times in that time
	}
	return beat, true
}

// hasLeft tells whether a node's agent has left in order and none has come since: it released its Lease when nothing of miniplane was left
// on the machine, and the next one's first act is to hold it.
func hasLeft(ctx context.Context, from client.Reader, node string) (bool, error) {
	var lease coordinationv1.Lease
	err := from.Get(ctx, client.ObjectKey{Namespace: miniv1.SystemNamespace, Name: node}, &lease)
	return err == nil && isReleased(&lease), client.IgnoreNotFound(err)
}

func isReleased(lease *coordinationv1.Lease) bool {
	return lease.Namespace == miniv1.SystemNamespace && ptr.Deref(lease.Spec.HolderIdentity, "") == ""
}

// wordOf is what the core Node's condition Ready says about the machine.
func wordOf(node *corev1.Node) nodelife.Word {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionUnknown {
			return nodelife.SaysAlive
		}
	}
	return nodelife.NoWord
}

// outOfService is the taint with which an administrator, or who acts for one, says that the machine is off.
func outOfService(node *corev1.Node) *corev1.Taint {
	for i := range node.Spec.Taints {
		if taint := &node.Spec.Taints[i]; taint.Key == corev1.TaintNodeOutOfService &&
			(taint.Effect == corev1.TaintEffectNoExecute || taint.Effect == corev1.TaintEffectNoSchedule) {
			return taint
		}
	}
	return nil
}

// sameToUs tells whether two versions of a core Node say the same about its life.
func sameToUs(a, b *corev1.Node) bool {
	return wordOf(a) == wordOf(b) && (outOfService(a) == nil) == (outOfService(b) == nil) &&
		a.Labels[corev1.LabelTopologyZone] == b.Labels[corev1.LabelTopologyZone] && a.Status.NodeInfo.BootID == b.Status.NodeInfo.BootID &&
		sameToDaemonSets(a, b)
}

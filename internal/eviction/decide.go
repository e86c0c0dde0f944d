// Package eviction decides which MiniPods have to leave a node because its core Node says so: because it has a NoExecute
// taint, or because it is drained.
//
// The idea: people and tools speak to the core Node, and what they say counts for MiniPods as it does for Pods. A taint is on
// the Node, and when it counts from is what Sightings remember. A drain is not: `kubectl drain` cordons the Node, and then
// evicts each of its native Pods and waits until they are gone. So every node has a drain marker, a native Pod in which
// nothing ever runs. Its deletion on a cordoned node is the drain, and a finalizer keeps it, and so kubectl, until the
// node's MiniPods are gone.
//
// What makes it hard is that nothing may get stuck, nor be deleted by mistake: a marker is held only while the node is
// cordoned and miniplane is not being uninstalled, and what comes to the node after the drain began, because it tolerates
// the cordon, is not part of it.
package eviction

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

// Observed is what the API says about one node.
type Observed struct {
	// Name of the node.
	Name string
	// Node is the core Node; nil when there is none.
	Node *corev1.Node
	// MiniNode of the same name; nil when there is none.
	MiniNode *miniv1.MiniNode
	// Taints that MiniPods have to tolerate in order to stay.
	Taints []Taint
	// Marker is the node's drain marker; nil when there is none.
	Marker *corev1.Pod
	// WantMarkers: nodes are to have drain markers, and miniplane is not being uninstalled.
	WantMarkers bool
	// Pods bound to the node.
	Pods []*miniv1.MiniPod
	// Arrived is since when this manager sees each of them there, by UID; those that it does not name were there before the taints.
	Arrived map[types.UID]time.Time
}

// Eviction is a MiniPod that has to go, and why: the reason and message of its condition DisruptionTarget.
type Eviction struct {
	Pod             *miniv1.MiniPod
	Reason, Message string
}

// Plan is what has to be done about a node. The zero value means nothing.
type Plan struct {
	// Evict are MiniPods to be deleted, once their status says why.
	Evict []Eviction
	// Unmark are MiniPods whose status is to be what Unmark makes of it: they were to be evicted, and no longer are.
	Unmark []*miniv1.MiniPod
	// Marker is the next step for the node's drain marker.
	Marker MarkerStep
	// Blocking are MiniPods that a drain waits for and does not delete, since nothing would replace them.
	Blocking []*miniv1.MiniPod
	// Again is when to look again if nothing happens before; zero for never.
	Again time.Time
}

// Decide makes the plan for one node.
func Decide(seen Observed, now time.Time) Plan {
	var plan Plan
	left := 0
	for _, pod := range seen.Pods {
		drained := seen.Draining() && seen.IsDrained(pod)
		if drained {
			left++
		}
		if podstate.IsDeleting(pod) {
			continue
		}
		if drained && mayGo(pod) {
			plan.Evict = append(plan.Evict, Eviction{pod, miniv1.ReasonDeletionByDrain, fmt.Sprintf("node %s is drained", seen.Name)})
			continue
		}
		if drained {
			plan.Blocking = append(plan.Blocking, pod)
		}
		plan.byTaints(seen, pod, now)
	}
	plan.Marker = markerStep(seen, left)
	return plan
}

// byTaints evicts a MiniPod that does not tolerate the node's taints, or not any longer.
func (p *Plan) byTaints(seen Observed, pod *miniv1.MiniPod, now time.Time) {
	end := stay(pod, seen.Arrived[pod.UID], seen.Taints)
	switch {
	case podstate.IsFinished(pod):
	case end.now || !end.at.IsZero() && !now.Before(end.at):
		p.Evict = append(p.Evict, Eviction{pod, miniv1.ReasonDeletionByTaintManager,
			fmt.Sprintf("node %s has the taint %s, which is not tolerated%s", seen.Name, end.taint.ToString(), end.anyLonger())})
	default:
		if !end.at.IsZero() && (p.Again.IsZero() || end.at.Before(p.Again)) {
			p.Again = end.at
		}
		if isMarked(pod) {
			p.Unmark = append(p.Unmark, pod)
		}
	}
}

// Draining tells whether the node is being drained now.
func (o *Observed) Draining() bool {
	return o.wanted() && o.Node.Spec.Unschedulable && o.Marker != nil && o.Marker.DeletionTimestamp != nil &&
		slices.Contains(o.Marker.Finalizers, miniv1.DrainFinalizer)
}

// IsDrained tells whether the drain that is under way waits for this MiniPod. It does not wait for those of a MiniDaemonSet,
// nor for those that were made since and tolerate the cordon: they may come back for ever. Nor for the mere object of one whose
// agent has proven that nothing of it is left, and that another's finalizer keeps: nothing is lost with the machine then.
func (o *Observed) IsDrained(pod *miniv1.MiniPod) bool {
	comesBack := pod.CreationTimestamp.After(o.Marker.DeletionTimestamp.Time) && taints.Tolerated(pod.Spec.Tolerations, &cordon)
	return isWork(pod) && !comesBack
}

// cordon is the taint that a cordon stands for.
var cordon = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

// isWork tells whether something of a MiniPod may be on the node that is work that can move.
func isWork(pod *miniv1.MiniPod) bool { return belongsToWork(pod) && podstate.MayBeThere(pod) }

// belongsToWork tells whether a MiniPod is work that can move, and not part of the node, as those of a MiniDaemonSet are.
func belongsToWork(pod *miniv1.MiniPod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner == nil || owner.Kind != "MiniDaemonSet" || !strings.HasPrefix(owner.APIVersion, miniv1.GroupVersion.Group+"/")
}

// mayGo tells whether a drain may delete the MiniPod: it has ended, or a controller makes another.
func mayGo(pod *miniv1.MiniPod) bool {
	return podstate.IsFinished(pod) || metav1.GetControllerOf(pod) != nil
}

// Mark makes a MiniPod's status say that it is about to be deleted, and why.
func Mark(e Eviction) {
	conditions.Set(&e.Pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue,
		Reason: e.Reason, Message: e.Message, ObservedGeneration: e.Pod.Generation})
}

// Unmark takes back what Mark said.
func Unmark(pod *miniv1.MiniPod) {
	conditions.Remove(&pod.Status.Conditions, miniv1.ConditionDisruptionTarget)
}

func isMarked(pod *miniv1.MiniPod) bool {
	condition := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionDisruptionTarget)
	return condition != nil && (condition.Reason == miniv1.ReasonDeletionByDrain || condition.Reason == miniv1.ReasonDeletionByTaintManager)
}

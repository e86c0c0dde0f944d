package podplan

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podstate"
)

// Node is what a status says of where the MiniPod runs.
type Node struct {
	IP string
	// RuntimeName is the scheme of container IDs, as in "containerd".
	RuntimeName string
	// RecursiveReadOnly tells whether it can make a mount read-only with all that is mounted in it.
	RecursiveReadOnly bool
}

// Status is the status that the API server should have: what the scheduler wrote, and what is observed. A MiniPod that
// ended stays as it ended.
func Status(pod *miniv1.MiniPod, o *Observation, node Node, now time.Time) miniv1.MiniPodStatus {
	status := *pod.Status.DeepCopy()
	status.ObservedGeneration = pod.Generation
	if podstate.IsFinished(pod) {
		return status
	}
	o = o.judged(pod, now)
	status.HostIP, status.QOSClass = node.IP, qosClass(&pod.Spec)
	if o.Address.IsValid() {
		status.PodIP = o.Address.String()
	}
	if status.StartTime == nil && !o.TakenUp.IsZero() {
		status.StartTime = seconds(o.TakenUp)
	}
	r := rowOf(pod.Spec.AllContainers())
	status.InitContainerStatuses, status.ContainerStatuses = containerStatuses(pod, r, o, node, now)
	status.Phase = phaseOf(pod, r, &status)
	failForced(&status, o)
	setConditions(pod, r, &status, now)
	setTimeline(pod, &status, o, now)
	summarize(r, &status)
	setAdmission(pod, &status, o.Refusal, now)
	if saysMore(&pod.Status, &status) {
		return *pod.Status.DeepCopy()
	}
	return status
}

// saysMore tells whether a status differs from the one that stands only by what an earlier version did not say: the class of its quality of service, the
// condition Initialized, and that containers have started. That alone is worth no write, or an upgrade would write the status of every MiniPod that runs.
func saysMore(before, now *miniv1.MiniPodStatus) bool {
	initialized := meta.FindStatusCondition(before.Conditions, miniv1.ConditionInitialized) != nil
	if before.Phase != miniv1.PodRunning || initialized && before.QOSClass != "" {
		return false
	}
	less := now.DeepCopy()
	less.QOSClass = before.QOSClass
	if !initialized {
		conditions.Remove(&less.Conditions, miniv1.ConditionInitialized)
		for i := range less.ContainerStatuses {
			less.ContainerStatuses[i].Started = nil
		}
	}
	return equality.Semantic.DeepEqual(before, less)
}

// seconds is a time as the API server stores it.
func seconds(t time.Time) *metav1.Time {
	out := metav1.NewTime(t.Truncate(time.Second))
	return &out
}

package podplan

import (
	"fmt"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/resources"
)

// evictionGrace is how long the containers of a MiniPod have to end that takes more of the node than it may: a native Pod's.
const evictionGrace = time.Second

// DiskLimits are what the emptyDirs on disk of a MiniPod may take, in bytes, by their names; nil where nothing bounds them.
func DiskLimits(pod *miniv1.MiniPod) map[string]int64 {
	var out map[string]int64
	if pod == nil {
		return nil
	}
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].EmptyDir
		if source == nil || source.Medium != "" || source.SizeLimit == nil || source.SizeLimit.Sign() <= 0 {
			continue
		}
		if out == nil {
			out = map[string]int64{}
		}
		out[pod.Spec.Volumes[i].Name] = resources.Whole(*source.SizeLimit)
	}
	return out
}

// Exceeds tells why a MiniPod has to go whose emptyDirs on disk were found to take so much; empty if it need not. The words are a kubelet's. As for a
// kubelet it is no disruption, and there is no condition DisruptionTarget: it broke its own limit, and does so again wherever it runs. That condition is
// for one that has to go because the node is short of something.
func Exceeds(pod *miniv1.MiniPod, used map[string]int64) string {
	limits := DiskLimits(pod)
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if limit, bounded := limits[v.Name]; bounded && used[v.Name] > limit {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q.", v.Name, v.EmptyDir.SizeLimit.String())
		}
	}
	return ""
}

// hurried is the MiniPod as it ends: one that has to go has no longer for it than others that have to.
func hurried(pod *miniv1.MiniPod, o *Observation) *miniv1.MiniPod {
	if pod == nil || o.Evicted == "" || grace(pod) <= evictionGrace {
		return pod
	}
	out := *pod
	period := int64(evictionGrace / time.Second)
	out.Spec.TerminationGracePeriodSeconds = &period
	return &out
}

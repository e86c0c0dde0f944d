package e2e

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// enforceLabel names the Pod Security level that a namespace enforces.
const enforceLabel = "pod-security.kubernetes.io/enforce"

// restricted makes a manifest's MiniPods meet the restricted level.
func restricted(manifest string) string {
	manifest = strings.Replace(manifest, "      containers:\n", `      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        seccompProfile: {type: RuntimeDefault}
      containers:
`, 1)
	return strings.TrimRight(manifest, "\n") + `
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
`
}

// In a namespace labelled restricted, a plain MiniDeployment waits and says what to change; one that meets the level runs. When the
// label goes, the first runs too.
func TestPodSecurityLevelHolds(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	kubectl(t, ns, "label", "namespace", ns, enforceLabel+"=restricted")
	apply(t, ns, deployment("plain", 2, imageV1))
	apply(t, ns, restricted(deployment("good", 1, imageV1)))
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "one ready and two refused", func() (bool, string) {
		list, refused, message := pods(t, ns), 0, ""
		for i := range list {
			scheduled := meta.FindStatusCondition(list[i].Status.Conditions, miniv1.ConditionPodScheduled)
			if scheduled != nil && scheduled.Reason == miniv1.ReasonPodSecurityViolation && list[i].Status.NodeName == "" {
				refused, message = refused+1, scheduled.Message
			}
		}
		says := strings.Contains(message, `container "echo" must set securityContext.allowPrivilegeEscalation=false`)
		return ready(list) == 1 && refused == 2 && says, fmt.Sprintf("%d ready, %d refused: %s", ready(list), refused, message)
	})
	for _, pod := range pods(t, ns) {
		if pod.Labels["app"] == "plain" && len(pod.Status.ContainerStatuses) > 0 {
			t.Errorf("%s has containers: %+v", pod.Name, pod.Status.ContainerStatuses)
		}
	}
	kubectl(t, ns, "label", "namespace", ns, enforceLabel+"-")
	waitReady(t, ns, 3, patience)

	// What runs is left alone when the level becomes stricter; what comes new is not let in.
	before := pods(t, ns)
	kubectl(t, ns, "label", "namespace", ns, enforceLabel+"=restricted")
	kubectl(t, ns, "scale", "minideployment/plain", "--replicas=3")
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "three ready and one refused", func() (bool, string) {
		list, refused := pods(t, ns), 0
		for i := range list {
			scheduled := meta.FindStatusCondition(list[i].Status.Conditions, miniv1.ConditionPodScheduled)
			if scheduled != nil && scheduled.Reason == miniv1.ReasonPodSecurityViolation {
				refused++
			}
		}
		return ready(list) == len(before) && refused == 1, fmt.Sprintf("%d ready, %d refused", ready(list), refused)
	})
}

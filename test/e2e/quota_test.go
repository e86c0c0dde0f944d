package e2e

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const quotaManifest = `
apiVersion: miniplane.dev/v1alpha1
kind: MiniQuota
metadata:
  name: team
spec:
  hard: {cpu: 1, count/minipods: 10}
`

func quotaPod(i int) string {
	return fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata:
  name: p%d
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: echo
    image: %s
    resources:
      requests: {cpu: 200m}
---`, i, imageV1)
}

// Of ten MiniPods of 200m under a quota of cpu 1, five run and five wait with the numbers; when one goes, one more runs.
func TestQuotaWaitsWithNumbers(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, quotaManifest)
	eventually(t, patience, ns, &miniv1.MiniQuotaList{}, "the quota to be enforced", func() (bool, string) {
		quota := &miniv1.MiniQuota{}
		err := api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "team"}, quota)
		_, counted := quota.Status.Used["count/minipods"]
		return err == nil && counted, fmt.Sprint(err, quota.Status.Used)
	})
	manifest := ""
	for i := range 10 {
		manifest += quotaPod(i)
	}
	apply(t, ns, manifest)
	waitSplit(t, ns, 5, 5)

	running := ""
	for _, pod := range pods(t, ns) {
		if pod.Status.NodeName != "" {
			running = pod.Name
			continue
		}
		scheduled := meta.FindStatusCondition(pod.Status.Conditions, miniv1.ConditionPodScheduled)
		if scheduled == nil || scheduled.Reason != miniv1.ReasonQuotaExceeded || !strings.Contains(scheduled.Message, "200m") {
			t.Errorf("%s waits without the numbers: %+v", pod.Name, scheduled)
		}
	}
	eventually(t, patience, ns, &miniv1.MiniQuotaList{}, "used 1 of cpu 1", func() (bool, string) {
		quota := &miniv1.MiniQuota{}
		_ = api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "team"}, quota)
		used := quota.Status.Used["cpu"]
		return used.String() == "1" && quota.Status.WaitingPods == 5, fmt.Sprint(quota.Status)
	})

	if out, err := tryKubectl(t, ns, quotaPod(10), "apply", "-f", "-"); err == nil || !strings.Contains(out, "exceeded quota") {
		t.Errorf("the eleventh MiniPod: %v\n%s", err, out)
	}
	kubectl(t, ns, "delete", "minipod", running)
	waitSplit(t, ns, 5, 4)
}

// waitSplit waits until so many MiniPods are ready and so many wait for the quota.
func waitSplit(t *testing.T, ns string, wantReady, wantWaiting int) {
	t.Helper()
	eventually(t, patience, ns, &miniv1.MiniPodList{}, fmt.Sprintf("%d ready and %d waiting", wantReady, wantWaiting), func() (bool, string) {
		list, waiting := pods(t, ns), 0
		for i := range list {
			scheduled := meta.FindStatusCondition(list[i].Status.Conditions, miniv1.ConditionPodScheduled)
			if scheduled != nil && scheduled.Reason == miniv1.ReasonQuotaExceeded {
				waiting++
			}
		}
		return ready(list) == wantReady && waiting == wantWaiting, fmt.Sprintf("%d ready, %d waiting", ready(list), waiting)
	})
}

package e2e

import (
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// A MiniPod that is active for longer than it may be fails, whether it runs or waits for its image; one that ends in time does not.
func TestActiveDeadline(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, strings.ReplaceAll(`apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: runs, labels: {app: deadline}}
spec:
  activeDeadlineSeconds: 8
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: IMAGE, command: [sleep, "54321"]}]
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: waits, labels: {app: deadline}}
spec:
  activeDeadlineSeconds: 4
  containers: [{name: main, image: "miniplane.dev/none:v1", imagePullPolicy: Never}]
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: ends, labels: {app: deadline}}
spec:
  activeDeadlineSeconds: 300
  restartPolicy: Never
  containers: [{name: main, image: IMAGE, command: [sh, -c, exit 0]}]
`, "IMAGE", busybox))
	for name, want := range map[string]string{"runs": "Failed DeadlineExceeded", "waits": "Failed DeadlineExceeded", "ends": "Succeeded "} {
		eventually(t, patience, ns, &miniv1.MiniPodList{}, name+" is "+want, func() (bool, string) {
			out := kubectl(t, ns, "get", "minipod", name, "-o", "jsonpath={.status.phase} {.status.reason}")
			return out == want, out
		})
	}
	kubectl(t, ns, "delete", "minipod", "--all", "--timeout=60s")
}

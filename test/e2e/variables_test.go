package e2e

import (
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Variables of a ConfigMap, a Secret, an amount and a label, as people write them; and a container that waits for a Secret, which comes.
func TestVariables(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {URL: "http://127.0.0.1:8080/healthz", MODE: fast}
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: uses, labels: {app: uses}}
spec:
  initContainers:
  - name: server
    image: `+imageV1+`
    restartPolicy: Always
  containers:
  - name: main
    image: `+imageV1+`
    args: [get, "$(URL)"]
    envFrom: [{configMapRef: {name: settings}}]
    env:
    - name: TOKEN
      valueFrom: {secretKeyRef: {name: late, key: token}}
    - name: APP
      valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}
    - name: CPUS
      valueFrom: {resourceFieldRef: {resource: limits.cpu}}
  restartPolicy: OnFailure
`)
	waitSummary(t, ns, "uses", miniv1.ReasonCreateContainerConfig)
	if out := kubectl(t, ns, "get", "minipod", "uses", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}"); !strings.Contains(out, `secret "late" not found`) {
		t.Errorf("it says %q", out)
	}
	kubectl(t, ns, "create", "secret", "generic", "late", "--from-literal=token=t")
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it ends well", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "uses", "-o", "jsonpath={.status.phase} {.status.summary}")
		return strings.HasPrefix(out, "Succeeded"), out
	})
	kubectl(t, ns, "delete", "minipod", "uses", "--timeout=60s")
}

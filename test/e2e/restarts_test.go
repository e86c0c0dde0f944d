package e2e

import (
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// A container is started again for one exit code alone, and its neighbour never.
func TestRestartRules(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: ruled}
spec:
  volumes: [{name: tries, emptyDir: {}}]
  containers:
  - name: twice
    image: `+busybox+`
    command: [sh, -c, 'test -e /tries/1 && exit 3; touch /tries/1; exit 42']
    volumeMounts: [{name: tries, mountPath: /tries}]
    restartPolicy: Never
    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]
  - name: once
    image: `+busybox+`
    command: [sh, -c, 'exit 0']
    restartPolicy: OnFailure
`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it fails, and one was started twice", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "ruled", "-o",
			"jsonpath={.status.phase}{range .status.containerStatuses[*]} {.name} {.restartCount} {.state.terminated.exitCode}{end}")
		return out == "Failed twice 1 3 once 0 0", out
	})
	kubectl(t, ns, "delete", "minipod", "ruled", "--timeout=60s")
}

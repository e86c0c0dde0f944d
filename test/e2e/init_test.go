package e2e

import (
	"os"
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// The sample with an init container and a sidecar, and one whose init container fails, as kubectl shows them.
func TestInitContainers(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	sample, err := os.ReadFile("../../config/samples/minipod-init.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, ns, string(sample)+`---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: fails}
spec:
  restartPolicy: Never
  initContainers: [{name: ask, image: `+imageV1+`, args: [get, "http://127.0.0.1:1/"]}]
  containers: [{name: main, image: `+imageV1+`}]
`)
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/hello-init")
	kubectl(t, ns, "wait", "--for=condition=Initialized", "--timeout=10s", "minipod/hello-init")
	if out := kubectl(t, ns, "get", "minipod", "hello-init", "--no-headers"); !strings.Contains(out, "2/2") || !strings.Contains(out, "Running") {
		t.Errorf("kubectl get shows:\n%s", out)
	}
	if out := kubectl(t, ns, "get", "minipod", "hello-init", "-o", "jsonpath={.status.initContainerStatuses[1].state.terminated.reason}"); out != "Completed" {
		t.Errorf("the init container ended as %q", out)
	}
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "the other fails", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "fails", "-o", "jsonpath={.status.phase} {.status.summary} {.status.readyContainers}")
		return out == "Failed Init:Error 0/1", out
	})
	kubectl(t, ns, "delete", "minipod", "hello-init", "fails", "--timeout=60s")
}

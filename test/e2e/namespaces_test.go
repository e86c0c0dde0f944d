package e2e

import (
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// What a user writes for a native Pod that belongs to its node: a MiniPod in the node's network behind a MiniService, whose port nobody else has; one
// that sees the node's processes; one whose containers see each other. Where the namespace's level does not allow it, the first two are not started.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	manifests := `apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: onnode, labels: {app: onnode}}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: miniplane.dev/echo:v1
    env: [{name: ECHO_PORT, value: "18471"}]
    ports: [{name: web, containerPort: 18471}]
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniService
metadata: {name: onnode}
spec:
  selector: {app: onnode}
  ports: [{port: 80, targetPort: web}]
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: sees, labels: {app: sees}}
spec:
  hostPID: true
  hostIPC: true
  restartPolicy: Never
  containers: [{name: main, image: ` + busybox + `, command: [sh, -c, "n=$(ls -d /proc/[0-9]* | wc -l); [ $n -gt 10 ] && echo $n >/dev/termination-log"]}]
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: together, labels: {app: together}}
spec:
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: first, image: ` + busybox + `, command: [sleep, "100777"]}
  - {name: second, image: ` + busybox + `, command: [sh, -c, "while :; do grep -q 100777 /proc/[0-9]*/cmdline && sleep 100000; sleep 1; done"], readinessProbe: {exec: {command: [sh, -c, "ps | grep -q 'sleep 10077[7]'"]}, periodSeconds: 1}}
`
	apply(t, ns, manifests)
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/onnode", "minipod/together")
	addresses := strings.Fields(kubectl(t, ns, "get", "minipod", "onnode", "-o", "jsonpath={.status.podIP} {.status.hostIP}"))
	if len(addresses) != 2 || addresses[0] != addresses[1] {
		t.Errorf("addresses %v", addresses)
	}
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "the one that sees the node ends well", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "sees", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.message}")
		return strings.HasPrefix(out, "Succeeded"), out
	})
	slices := kubectl(t, ns, "get", "endpointslices", "-o", "jsonpath={.items[0].endpoints[0].addresses[0]}:{.items[0].ports[0].port}")
	if slices != addresses[0]+":18471" {
		t.Errorf("endpoint %s, want %s", slices, addresses[0]+":18471")
	}
	apply(t, ns, `apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: asks, labels: {app: asks}}
spec:
  restartPolicy: OnFailure
  containers: [{name: main, image: `+busybox+`, command: [sh, -c, "wget -q -O /dev/termination-log http://`+kubectl(t, ns, "get", "msvc", "onnode", "-o", "jsonpath={.status.clusterIP}")+`/"]}]
`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "the service leads to the node's network", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "asks", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.message}")
		return strings.HasPrefix(out, "Succeeded echo"), out
	})
	// The port is one of the node's.
	node := kubectl(t, ns, "get", "minipod", "onnode", "-o", "jsonpath={.status.nodeName}")
	apply(t, ns, `apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: second}
spec:
  nodeName: `+node+`
  hostNetwork: true
  containers: [{name: main, image: miniplane.dev/echo:v1, env: [{name: ECHO_PORT, value: "18471"}], ports: [{containerPort: 18471}]}]
`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "another with the port waits", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "second", "-o", "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}")
		return strings.Contains(out, "using host port 18471/TCP already"), out
	})
	kubectl(t, ns, "delete", "minipod", "--all", "--timeout=60s")

	kubectl(t, "", "label", "namespace", ns, "pod-security.kubernetes.io/enforce=baseline")
	apply(t, ns, manifests)
	for name, why := range map[string]string{"onnode": "host namespaces (hostNetwork=true)", "sees": "host namespaces (hostPID=true, hostIPC=true)"} {
		eventually(t, patience, ns, &miniv1.MiniPodList{}, name+" is refused", func() (bool, string) {
			out := kubectl(t, ns, "get", "minipod", name, "-o", "jsonpath={.status.conditions[*].message}")
			return strings.Contains(out, why), out
		})
	}
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/together")
	kubectl(t, ns, "delete", "minipod", "--all", "--timeout=60s")
}

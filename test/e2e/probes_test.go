package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// The sample, as kubectl shows it.
func TestProbesSample(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	sample, err := os.ReadFile("../../config/samples/minipod-probes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, ns, string(sample))
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/hello-probes")
	if out := kubectl(t, ns, "get", "minipod", "hello-probes", "-o", "jsonpath={.status.containerStatuses[0].started} {.status.restarts}"); out != "true 0" {
		t.Errorf("started and restarts: %s", out)
	}
	kubectl(t, ns, "delete", "minipod", "hello-probes", "--timeout=60s")
}

// probedDeployment is a MiniDeployment whose MiniPods are ready when they answer on port 8080; they listen on a port of their own.
func probedDeployment(port int) string {
	return strings.Replace(deployment("web", 3, imageV1), "        ports:", fmt.Sprintf(`        env: [{name: ECHO_PORT, value: "%d"}]
        readinessProbe:
          httpGet: {path: /healthz, port: 8080}
          periodSeconds: 1
        ports:`, port), 1) + `
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniService
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`
}

// A new MiniPod that is not ready gets no connection, and holds the rollout that made it; what ran before goes on to serve.
func TestReadinessHoldsRollout(t *testing.T) {
	long(t)
	t.Parallel()
	ns := namespace(t)
	strategy := "  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}\n  template:"
	manifest := func(port int) string { return strings.Replace(probedDeployment(port), "  template:", strategy, 1) }
	apply(t, ns, manifest(8080))
	waitReady(t, ns, 3, patience)
	waitRolledOut(t, ns, "web")
	service := waitService(t, ns, "web", 3)
	good := names(pods(t, ns))

	apply(t, ns, manifest(8081))
	unready := func() (out []miniv1.MiniPod) {
		return slices.DeleteFunc(pods(t, ns), func(p miniv1.MiniPod) bool {
			return slices.Contains(good, p.Name) || p.Status.Phase != miniv1.PodRunning || podstate.IsReady(&p)
		})
	}
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "a new one to run, not ready", func() (bool, string) {
		return len(unready()) == 1, fmt.Sprint(names(pods(t, ns)))
	})
	pod := unready()[0]
	eventually(t, patience, ns, &discoveryv1.EndpointSliceList{}, "it is no endpoint that is ready", func() (bool, string) {
		var slices discoveryv1.EndpointSliceList
		if err := api.List(t.Context(), &slices, client.InNamespace(ns), client.MatchingLabels{miniv1.ServiceNameLabel: "web"}); err != nil {
			return false, err.Error()
		}
		ready, known := 0, false
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				is := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
				if is {
					ready++
				}
				if endpoint.Addresses[0] == pod.Status.PodIP {
					known = is
				}
			}
		}
		return ready == 3 && !known, fmt.Sprintf("%d ready, it is: %t", ready, known)
	})
	fetch(t, cluster.nodes(t)[0].name, fmt.Sprintf("http://%s/", service.Status.ClusterIP), good)
	waitEvent(t, ns, "Unhealthy", "readiness probe failed")
	if list := pods(t, ns); len(list) != 4 || ready(list) != 3 {
		t.Errorf("%d MiniPods, %d ready: the rollout went on", len(list), ready(list))
	}
	if d := getDeployment(t, ns, "web"); d.Status.UpdatedReplicas != 1 || d.Status.AvailableReplicas != 3 || !meta.IsStatusConditionTrue(d.Status.Conditions, miniv1.ConditionAvailable) {
		t.Errorf("%+v", d.Status)
	}
	apply(t, ns, manifest(8080))
	waitReady(t, ns, 3, patience)
	waitRolledOut(t, ns, "web")
	for _, pod := range pods(t, ns) {
		if !slices.Contains(good, pod.Name) {
			t.Errorf("%s is new", pod.Name)
		}
	}
}

// A container that is alive no more is started again, and people are told why.
func TestLiveness(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: hangs}
spec:
  containers:
  - name: main
    image: `+busybox+`
    command: [sh, -c, "trap 'exit 0' TERM; mkdir -p /tmp; touch /tmp/alive; sleep 2; rm /tmp/alive; while :; do sleep 0.1; done"]
    livenessProbe:
      exec: {command: [sh, -c, "test -f /tmp/alive"]}
      initialDelaySeconds: 1
      periodSeconds: 1
      failureThreshold: 2
`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it is started again", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "hangs", "-o", "jsonpath={.status.restarts}")
		return out != "" && out != "0", out
	})
	for _, reason := range []string{"Unhealthy", "Killing"} {
		waitEvent(t, ns, reason, "liveness probe")
	}
}

// waitEvent waits until people are told of something in such words.
func waitEvent(t *testing.T, ns, reason, words string) {
	t.Helper()
	eventually(t, patience, ns, &corev1.EventList{}, "an Event "+reason, func() (bool, string) {
		out := kubectl(t, ns, "get", "events", "--field-selector=reason="+reason, "-o", "jsonpath={.items[*].message}")
		return strings.Contains(out, words), out
	})
}

package api

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// withProbes has every field of probes, some of them as tools write them that mean the default.
const withProbes = `{apiVersion: miniplane.dev/v1alpha1, kind: MiniPod, metadata: {name: probes}, spec: {
  initContainers: [{name: side, image: i, restartPolicy: Always, startupProbe: {grpc: {port: 9090, service: ""}}}],
  containers: [{name: main, image: i, ports: [{name: web, containerPort: 80}],
    startupProbe: {exec: {command: ["true"]}, successThreshold: 1, failureThreshold: 30, terminationGracePeriodSeconds: 1},
    livenessProbe: {tcpSocket: {port: 80, host: ""}, initialDelaySeconds: 0, timeoutSeconds: 0, periodSeconds: 0, successThreshold: 0, failureThreshold: 0},
    readinessProbe: {httpGet: {path: /healthz, port: web, scheme: HTTPS, host: example.com, httpHeaders: [{name: Host, value: a}, {name: X-Empty, value: ""}]},
      initialDelaySeconds: 1, timeoutSeconds: 2, periodMilliseconds: 250, successThreshold: 4, failureThreshold: 5}}]}}`

// A MiniPod that exists keeps its probes, and what a native Pod says of them is taken.
func TestProbes(t *testing.T) {
	_, c := testenv.Start(t)
	object, pod := created(t, c, withProbes)
	main := pod.Spec.Containers[0]
	if main.ReadinessProbe.PeriodMilliseconds != 250 || main.ReadinessProbe.HTTPGet.Port.StrVal != "web" || main.LivenessProbe.TCPSocket.Port.IntVal != 80 ||
		pod.Spec.Level() != miniv1.SpecLevelProbes {
		t.Errorf("%+v", main)
	}
	patch := `[{"op":"replace","path":"/spec/containers/0/readinessProbe/timeoutSeconds","value":3}]`
	judge(t, c.Patch(t.Context(), object.DeepCopy(), client.RawPatch(jsonPatch, []byte(patch)), client.DryRunAll),
		"readinessProbe of container main cannot be changed; only images can")
}

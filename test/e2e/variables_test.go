package e2e

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Variables of a ConfigMap, a Secret, an amount and a label, as people write them; and a container that waits for a Secret, which comes.
func TestVariables(t *testing.T) {
	t.Parallel()
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

// A native Pod's manifest with variables of a file: the container need not have the volume, has what the init container wrote, and after a restart what
// is there by then. A link out of the volume is told, and not followed.
func TestFileKeyRef(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: reads}
spec:
  restartPolicy: OnFailure
  volumes: [{name: config, emptyDir: {}}]
  initContainers:
  - name: writes
    image: `+busybox+`
    command: [sh, -c]
    args:
    - |
      cat >/data/app.env <<'END'
      # for the others
      ADDRESS='http://$HOST'  # as it is
      WORDS='one
      two'
      END
      echo "ROUND='1'" >/data/round.env
    volumeMounts: [{name: config, mountPath: /data}]
  containers:
  - name: prints
    image: `+busybox+`
    command: [sh, -c, "echo $ADDRESS $WORDS ${NONE-unset} ${NOFILE-unset} $URL >/dev/termination-log"]
    env:
    - name: ADDRESS
      valueFrom: {fileKeyRef: {volumeName: config, path: app.env, key: ADDRESS}}
    - name: WORDS
      valueFrom: {fileKeyRef: {volumeName: config, path: app.env, key: WORDS, optional: false}}
    - name: NONE
      valueFrom: {fileKeyRef: {volumeName: config, path: app.env, key: NONE, optional: true}}
    - name: NOFILE
      valueFrom: {fileKeyRef: {volumeName: config, path: none.env, key: NONE, optional: true}}
    - name: URL
      value: $(ADDRESS)/
  - name: restarts
    image: `+busybox+`
    command: [sh, -c]
    args:
    - |
      if [ "$ROUND" = 1 ]; then echo "ROUND='2'" >/data/round.env; exit 1; fi
      echo "round $ROUND" >/dev/termination-log
    env:
    - name: ROUND
      valueFrom: {fileKeyRef: {volumeName: config, path: round.env, key: ROUND}}
    volumeMounts: [{name: config, mountPath: /data}]
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: leaves}
spec:
  volumes: [{name: config, emptyDir: {}}]
  initContainers:
  - name: links
    image: `+busybox+`
    command: [ln, -s, /etc/passwd, /data/app.env]
    volumeMounts: [{name: config, mountPath: /data}]
  containers:
  - name: main
    image: `+busybox+`
    command: [sleep, "100000"]
    env:
    - name: ROOT
      valueFrom: {fileKeyRef: {volumeName: config, path: app.env, key: root}}
`)
	if diff := cmp.Diff([]string{"http://$HOST one two unset unset http://$HOST/", "round 2"}, lastWords(t, ns, "reads")); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	waitSummary(t, ns, "leaves", miniv1.ReasonCreateContainerConfig)
	out := kubectl(t, ns, "get", "minipod", "leaves", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
	if want := `variable ROOT: file "app.env" of volume "config": it leads out of the volume`; !strings.Contains(out, want) {
		t.Errorf("it says %q, want %q", out, want)
	}
}

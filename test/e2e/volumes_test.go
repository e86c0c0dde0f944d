package e2e

import (
	"os"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// The sample, as kubectl shows it: what an init container prepared and a ConfigMap says is there, and a change of the ConfigMap is seen by
// the container that runs.
func TestVolumesSample(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	sample, err := os.ReadFile("../../config/samples/minipod-volumes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apply(t, ns, string(sample))
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/hello-volumes")
	kubectl(t, ns, "patch", "configmap", "hello-settings", "-p", `{"data":{"greeting":"bye"}}`)
	kubectl(t, ns, "wait", "--for=condition=Ready=false", "--timeout=120s", "minipod/hello-volumes")
	if out := kubectl(t, ns, "get", "minipod", "hello-volumes", "-o", "jsonpath={.status.phase} {.status.restarts}"); out != "Running 0" {
		t.Errorf("phase and restarts: %s", out)
	}
	kubectl(t, ns, "delete", "minipod", "hello-volumes", "--timeout=60s")
}

// A database's shape: a Secret by a file that only its group may read, a directory of data by subPath, all sources in one directory; it says at its
// end what it saw. The Secret comes late.
func TestVolumesOfAnApplication(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {main.conf: "fsync=on"}
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: db, labels: {app: db}}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 999, runAsGroup: 999, fsGroup: 999, runAsNonRoot: true}
  volumes:
  - name: data
    emptyDir: {}
  - name: all
    projected:
      defaultMode: 0400
      sources:
      - secret: {name: login, items: [{key: password, path: secret/password}]}
      - configMap: {name: conf}
      - downwardAPI: {items: [{path: about/name, fieldRef: {fieldPath: metadata.name}}]}
  containers:
  - name: main
    image: `+busybox+`
    env: [{name: VERSION, value: "17"}]
    command: [sh, -c]
    args:
    - |
      cd /etc/db && mkdir /var/lib/db/base && touch /var/lib/db/base/1 &&
      echo "$(cat secret/password) $(cat main.conf) $(cat about/name) $(stat -c %g /var/lib/db/base/1)" >/dev/termination-log
    volumeMounts:
    - {name: data, mountPath: /var/lib/db, subPathExpr: "$(VERSION)/main"}
    - {name: all, mountPath: /etc/db, readOnly: true}
`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it says what it waits for", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "db", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
		return strings.Contains(out, `volume "all": secret "login" not found`), out
	})
	kubectl(t, ns, "create", "secret", "generic", "login", "--from-literal=password=p")
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it ends well", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "db", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.message}")
		return strings.TrimSpace(out) == "Succeeded p fsync=on db 999", out
	})
	kubectl(t, ns, "delete", "minipod", "db", "--timeout=60s")
}

// A Pod that came out of an API server has its ServiceAccount's token in a volume: with another apiVersion and kind it starts, and has the token, the
// cluster's authority and its namespace.
func TestTokenOfAnExportedPod(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: exported, labels: {app: exported}}
spec:
  serviceAccount: robot
  serviceAccountName: robot
  restartPolicy: Never
  volumes:
  - name: kube-api-access-x7k2p
    projected:
      defaultMode: 420
      sources:
      - serviceAccountToken: {expirationSeconds: 3607, path: token}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]}
  containers:
  - name: main
    image: `+busybox+`
    command: [sh, -c]
    args: ['cd /var/run/secrets/kubernetes.io/serviceaccount && grep -q BEGIN ca.crt && { cat namespace; echo; cat token; } >/dev/termination-log']
    volumeMounts:
    - {name: kube-api-access-x7k2p, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
`)
	var said string
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it ends well", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "exported", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.message}")
		said = strings.TrimPrefix(out, "Succeeded ")
		return said != out, out
	})
	from, token, _ := strings.Cut(strings.TrimSpace(said), "\n")
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := api.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	if got, want := review.Status.User.Username, "system:serviceaccount:"+ns+":robot"; got != want || from != ns {
		t.Errorf("the token is %q's, want %q; the namespace is %q", got, want, from)
	}
	kubectl(t, ns, "delete", "minipod", "exported", "--timeout=60s")
}

// A MiniPod that asks for its ServiceAccount's token is to the API server who it is, and may what that account may.
func TestAccountToken(t *testing.T) {
	needs(t, controllers)
	t.Parallel()
	ns := namespace(t)
	kubectl(t, ns, "create", "serviceaccount", "robot")
	kubectl(t, ns, "create", "configmap", "settings", "--from-literal=colour=blue")
	kubectl(t, ns, "create", "role", "reader", "--verb=get", "--resource=configmaps")
	kubectl(t, ns, "create", "rolebinding", "reader", "--role=reader", "--serviceaccount="+ns+":robot")
	url := "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)/api/v1/namespaces/" + ns + "/configmaps/settings"
	asks := func(name, more string) string {
		return `
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: ` + name + `}
spec:
  restartPolicy: Never
  initContainers: [{name: before, image: "` + imageV1 + `", args: [api, "` + url + `"], terminationMessagePolicy: FallbackToLogsOnError}]
  containers: [{name: main, image: "` + imageV1 + `", args: [api, "` + url + `"], terminationMessagePolicy: FallbackToLogsOnError}]
` + more + `
---`
	}
	apply(t, ns, asks("robots", "  serviceAccountName: robot\n  automountServiceAccountToken: true")+
		asks("others", "  automountServiceAccountToken: true")+asks("silent", "")+asks("refused", "  serviceAccountName: robot\n  automountServiceAccountToken: false"))
	for name, want := range map[string]string{"robots": "Succeeded", "others": "403 Forbidden", "silent": "no such file", "refused": "no such file"} {
		eventually(t, patience, ns, &miniv1.MiniPodList{}, name+" ends with "+want, func() (bool, string) {
			out := kubectl(t, ns, "get", "minipod", name, "-o", "jsonpath={.status.phase} {.status.initContainerStatuses[0].state.terminated.message}")
			return strings.Contains(out, want), out
		})
	}
	kubectl(t, ns, "delete", "minipod", "--all", "--timeout=60s")
}

// What an image calls a volume can be written to where nothing else can.
func TestVolumeOfAnImage(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: reader}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: `+busyboxVolume+`
    securityContext: {readOnlyRootFilesystem: true}
    command: [sh, -c, "touch /elsewhere 2>/dev/null && exit 1; echo kept >/data/file && cat /data/file >/dev/termination-log"]
`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it ends well", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "reader", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.message}")
		return strings.TrimSpace(out) == "Succeeded kept", out
	})
	kubectl(t, ns, "delete", "minipod", "reader", "--timeout=60s")
}

// A hostPath is the node's: where Pod Security has no level it is there, and where it is baseline it is refused.
func TestHostPath(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	pod := `apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  volumes:
  - name: etc
    hostPath: {path: /etc, type: Directory}
  containers:
  - name: main
    image: ` + busybox + `
    command: [sh, -c, "echo x 2>/dev/null >/node/x; grep -q ^root: /passwd /node/passwd && echo of the node >/dev/termination-log"]
    volumeMounts:
    - {name: etc, mountPath: /node, readOnly: true, recursiveReadOnly: IfPossible, mountPropagation: None}
    - {name: etc, mountPath: /passwd, subPath: passwd, readOnly: true}
`
	apply(t, ns, strings.ReplaceAll(pod, "NAME", "reader"))
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it ends well", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "reader", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.message}")
		return strings.TrimSpace(out) == "Succeeded of the node", out
	})
	out := kubectl(t, ns, "get", "minipod", "reader", "-o", "jsonpath={range .status.containerStatuses[0].volumeMounts[*]}{.name} {.mountPath} {.readOnly} {.recursiveReadOnly},{end}")
	if out != "etc /node true Enabled," && out != "etc /node true Disabled," {
		t.Errorf("of its mounts the status says %q", out)
	}
	kubectl(t, ns, "label", "namespace", ns, enforceLabel+"=baseline")
	apply(t, ns, strings.ReplaceAll(pod, "NAME", "refused"))
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it is refused", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "refused", "-o", "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}")
		return strings.Contains(out, `hostPath volumes (volume "etc")`), out
	})
	kubectl(t, ns, "delete", "minipod", "--all", "--timeout=60s")
}

// One whose emptyDir takes more than it may fails in a native Pod's words, and its controller makes another.
func TestSizeLimit(t *testing.T) {
	long(t)
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `apiVersion: miniplane.dev/v1alpha1
kind: MiniReplicaSet
metadata: {name: greedy}
spec:
  replicas: 1
  selector: {matchLabels: {app: greedy}}
  template:
    metadata: {labels: {app: greedy}}
    spec:
      volumes: [{name: x, emptyDir: {sizeLimit: 1Mi}}]
      containers:
      - name: main
        image: `+busybox+`
        command: [sh, -c, "dd if=/dev/zero of=/x/large bs=1M count=3; exec sleep 1000"]
        volumeMounts: [{name: x, mountPath: /x}]
`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "one is evicted, and another comes", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipods", "-o", `jsonpath={range .items[*]}{.status.phase} {.status.reason} {.status.message}{"\n"}{end}`)
		return strings.Contains(out, `Failed Evicted Usage of EmptyDir volume "x" exceeds the limit "1Mi".`) && strings.Contains(out, "Running"), out
	})
	kubectl(t, ns, "delete", "minireplicaset", "greedy", "--timeout=60s")
}

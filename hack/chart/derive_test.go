package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// config is a small config/ in one stream.
const config = `
apiVersion: v1
kind: Namespace
metadata: {name: miniplane-system, labels: {pod-security.kubernetes.io/enforce: privileged, a: b}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.miniplane.dev}
---
apiVersion: v1
kind: Service
metadata: {name: metrics, annotations: {note: 'say {{ this }} as it is'}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: miniplane-manager}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - {name: manager, image: 'registry.local:5000/mini:v1', args: [--pod-cidr=10.0.0.0/8, --leader-elect], resources: {}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: miniplane-agent}
spec:
  updateStrategy: {rollingUpdate: {maxUnavailable: 1}}
  template:
    spec:
      containers:
      - {name: agent, image: 'registry.local:5000/mini:v1', args: [--max-pods=300, --pod-cidr=10.0.0.0/8], resources: {requests: {cpu: 1}},
         volumeMounts: [{name: containerd, mountPath: /run/containerd}]}
      initContainers:
      - {image: 'registry.local:5000/mini:v1', name: first}
      volumes: [{name: containerd, hostPath: {path: /run/containerd}}]
`

// hook is a small config/uninstall.
const hook = `
apiVersion: batch/v1
kind: Job
metadata: {name: miniplane-uninstall}
spec: {template: {spec: {containers: [{name: uninstall, image: 'registry.local:5000/mini:v1', args: [--uninstall]}]}}}
`

func derived(t *testing.T, config string) (map[string]string, error) {
	t.Helper()
	objects, err := parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := parse([]byte(hook))
	if err != nil {
		t.Fatal(err)
	}
	files, err := derive(objects, hooks)
	texts := map[string]string{}
	for name, content := range files {
		texts[name] = string(content)
	}
	return texts, err
}

func TestDerive(t *testing.T) {
	files, err := derived(t, config)
	if err != nil {
		t.Fatal(err)
	}
	for file, wants := range map[string][]string{
		"templates/_namespace.tpl":   {`define "miniplane.namespaceLabels" }}pod-security.kubernetes.io/enforce=privileged{{ end }}`},
		"templates/crds/things.yaml": {"{{- if .Values.crds.install }}\n---", "{{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n{{- end }}\n"},
		"templates/service.yaml":     {`say {{ "{{" }} this }} as it is`, `{{- include "miniplane.labels" . | nindent 4 }}`},
		"templates/manager.yaml": {
			"replicas: {{ .Values.manager.replicas }}",
			"- args:\n{{- if .Values.podCIDR }}\n        - --pod-cidr={{ .Values.podCIDR }}\n{{- end }}\n        - --leader-elect\n",
			`image: {{ include "miniplane.image" . | quote }}`,
		},
		"templates/agent.yaml": {
			"\n      initContainers:\n      - image: {{ include", // as the first key of an item
			"- --max-pods={{ .Values.agent.maxPods }}\n",
			"- mountPath: {{ dir .Values.agent.containerdSocket }}\n",
		},
		"templates/uninstall.yaml": {"helm.sh/hook: pre-delete\n", "- args:\n        - --uninstall\n        image: {{ include", "{{- with .Values.imagePullSecrets }}"},
		"values.yaml": {
			"\n  repository: registry.local:5000/mini\n", "\n  tag: v1\n", "\npodCIDR: 10.0.0.0/8\n", "\n  maxPods: 300\n", "\n  containerdSocket: /run/containerd/containerd.sock\n",
			"\n  resources:\n    requests:\n      cpu: 1\n", "\nserviceCIDR: \"\"\n", "\n  priorityClassName: \"\"\n",
		},
	} {
		for _, want := range wants {
			if !strings.Contains(files[file], want) {
				t.Errorf("%s lacks %q:\n%s", file, want, files[file])
			}
		}
	}
}

// A shape that is not known is an error that says what to do.
func TestUnknownShapes(t *testing.T) {
	for name, tc := range map[string]struct{ old, new, want string }{
		"another workload":        {"kind: Service\n", "kind: Job\nspec: {template: {spec: {containers: [{name: x}]}}}\n", "Job metrics: runs containers, and no value says with which image"},
		"a workload gone":         {"name: miniplane-agent", "name: mini-agent", "DaemonSet mini-agent: runs containers"},
		"a container gone":        {"name: manager,", "name: main,", `containers has nothing with the name "manager"`},
		"a knob gone":             {"  replicas: 2\n", "", "has no spec.replicas, which the value manager.replicas is for"},
		"two images":              {"mini:v1', name: first", "other:v1', name: first", "image.repository stands for"},
		"two ranges":              {"--max-pods=300, --pod-cidr=10.0.0.0/8", "--pod-cidr=10.0.0.0/9", "the value podCIDR stands for 10.0.0.0/9 here and for 10.0.0.0/8 elsewhere"},
		"a range by variable":     {"--max-pods=300, --pod-cidr=10.0.0.0/8", "--pod-cidr=$(RANGE)", "is not of the form --pod-cidr=value"},
		"a volume gone":           {"[{name: containerd, hostPath: {path: /run/containerd}}]", "[]", `volumes has nothing with the name "containerd"`},
		"mounted elsewhere":       {"mountPath: /run/containerd", "mountPath: /host/containerd", "not mounted at the path that it has on the node"},
		"an image of any version": {"mini:v1', args: [--pod", "mini', args: [--pod", "has neither tag nor digest"},
		"helm's own label":        {"{name: metrics,", "{name: metrics, labels: {helm.sh/chart: x},", "has the label helm.sh/chart, which the chart sets itself"},
		"a second namespace":      {"name: miniplane-system,", "name: other,", "is a second namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(config, tc.old) {
				t.Fatalf("the test's config has no %q", tc.old)
			}
			if _, err := derived(t, strings.Replace(config, tc.old, tc.new, 1)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to contain %q", err, tc.want)
			}
		})
	}
}

func TestSplitImage(t *testing.T) {
	for image, want := range map[string][2]string{
		"miniplane.dev/miniplane:dev": {"miniplane.dev/miniplane", "dev"},
		"localhost:5000/a/b:v1":       {"localhost:5000/a/b", "v1"},
		"localhost:5000/a@sha256:0f":  {"localhost:5000/a", "sha256:0f"},
	} {
		if repository, tag, err := splitImage(image); err != nil || repository != want[0] || tag != want[1] {
			t.Errorf("%s: %s, %s, %v", image, repository, tag, err)
		}
	}
}

// A default without a place in values.yaml would be one that nobody can see.
func TestEveryDefaultHasItsPlace(t *testing.T) {
	d := defaults{"manager.colour": "blue"}
	if _, err := d.valuesFile(); err == nil || !strings.Contains(err.Error(), "no place for manager.colour") {
		t.Errorf("error %v", err)
	}
}

// Templates of objects that are gone go, those that were written by hand stay.
func TestRemoveStale(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "templates"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"old.yaml": header, "new.yaml": header, "hand.yaml": "x"} {
		if err := os.WriteFile(filepath.Join(dir, "templates", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeStale(dir, map[string][]byte{"templates/new.yaml": nil}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "templates", "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", left, err)
	}
}

package api

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// strict is what kubectl asks for: unknown fields are errors.
func strict(c client.Client) client.Client { return client.WithFieldValidation(c, "Strict") }

func load(t *testing.T, path, namespace string) (*unstructured.Unstructured, string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(data, object); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if object.GetKind() != "MiniNode" {
		object.SetNamespace(namespace)
	}
	want, _, _ := strings.Cut(strings.TrimPrefix(string(data), "# want: "), "\n")
	return object, want
}

// created is what a manifest of a MiniPod becomes, in a namespace of its own.
func created(t *testing.T, c client.Client, manifest string) (*unstructured.Unstructured, *miniv1.MiniPod) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), object); err != nil {
		t.Fatal(err)
	}
	object.SetNamespace(testenv.Namespace(t, c))
	if err := strict(c).Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	pod := &miniv1.MiniPod{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), pod); err != nil {
		t.Fatal(err)
	}
	return object, pod
}

func TestInvalidManifestsAreRefused(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	files, err := filepath.Glob("../e2e/testdata/invalid/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d wrong manifests (%v), want at least 20", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			object, want := load(t, file, namespace)
			err := strict(c).Create(t.Context(), object)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("message:\n%v\nwant it to contain:\n%s", err, want)
			}
		})
	}
}

func TestSamplesAreAccepted(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	files, err := filepath.Glob("../../config/samples/mini*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("found %d samples (%v), want one of each kind", len(files), err)
	}
	for _, file := range files {
		object, _ := load(t, file, namespace)
		if err := strict(c).Create(t.Context(), object); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		namesAmounts(t, file, object)
	}
}

// namesAmounts wants a sample's containers to say what they ask for: the sample MiniQuota, whenever it comes, holds up those that do not.
func namesAmounts(t *testing.T, file string, object *unstructured.Unstructured) {
	t.Helper()
	content, isTemplate, _ := unstructured.NestedMap(object.Object, "spec", "template", "spec")
	if !isTemplate && object.GetKind() != "MiniPod" {
		return
	}
	if !isTemplate {
		content, _, _ = unstructured.NestedMap(object.Object, "spec")
	}
	spec := &miniv1.MiniPodSpec{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, spec); err != nil {
		t.Fatal(file, err)
	}
	for _, c := range spec.AllContainers() {
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
			t.Errorf("%s: container %s names no cpu or memory", file, c.Name)
		}
	}
}

// What native Pods accept as a quantity is accepted, and always decodes into the typed object.
func TestQuantities(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	tests := map[string]string{
		"0.05": "50m", "1": "1", "500m": "500m", `"0.5"`: "500m", "1e3": "1k", "1e-2": "10m", ".5": "500m", "5.": "5", "0": "0", "1000000u": "1",
	}
	i := 0
	for written, want := range tests {
		i++
		object := &unstructured.Unstructured{}
		manifest := fmt.Sprintf("{apiVersion: miniplane.dev/v1alpha1, kind: MiniPod, metadata: {name: q%d, namespace: %s}, "+
			"spec: {containers: [{name: a, image: b, resources: {requests: {cpu: %s}}}]}}", i, namespace, written)
		if err := yaml.Unmarshal([]byte(manifest), object); err != nil {
			t.Fatal(err)
		}
		if err := strict(c).Create(t.Context(), object); err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		pod := &miniv1.MiniPod{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), pod); err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		if got := pod.Spec.Containers[0].Resources.Requests.Cpu(); got.String() != want {
			t.Errorf("%s: decoded as %s, want %s", written, got, want)
		}
	}
}

func TestWhatCannotBeChanged(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	object, _ := load(t, "../../config/samples/minipod.yaml", namespace)
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ patch, want string }{
		"whole container":     {`{"spec":{"containers":[{"name":"echo","image":"miniplane.dev/echo:v2"}]}}`, "only images can"},
		"command":             {`[{"op":"add","path":"/spec/containers/0/command","value":["/echo"]}]`, "command of container echo cannot be changed; only images can"},
		"resources":           {`[{"op":"replace","path":"/spec/containers/0/resources/requests/cpu","value":0.1}]`, "resources of container echo cannot be changed"},
		"container added":     {`[{"op":"add","path":"/spec/containers/-","value":{"name":"b","image":"b"}}]`, "containers cannot be added"},
		"node name":           {`[{"op":"add","path":"/spec/nodeName","value":"mini-0"}]`, "nodeName cannot be changed"},
		"grace period may":    {`[{"op":"replace","path":"/spec/terminationGracePeriodSeconds","value":0}]`, ""},
		"image alone may":     {`[{"op":"replace","path":"/spec/containers/0/image","value":"miniplane.dev/echo:v2"}]`, ""},
		"labels may":          {`[{"op":"add","path":"/metadata/labels/x","value":"y"}]`, ""},
		"env":                 {`[{"op":"remove","path":"/spec/containers/0/env"}]`, "env of container echo cannot be changed"},
		"ports":               {`[{"op":"replace","path":"/spec/containers/0/ports/0/containerPort","value":81}]`, "ports of container echo cannot be changed"},
		"restart policy":      {`[{"op":"replace","path":"/spec/restartPolicy","value":"Never"}]`, "restartPolicy cannot be changed"},
		"security context":    {`[{"op":"add","path":"/spec/securityContext","value":{"runAsUser":5}}]`, "securityContext cannot be changed"},
		"container's rights":  {`[{"op":"add","path":"/spec/containers/0/securityContext","value":{"privileged":true}}]`, "securityContext of container echo cannot be changed"},
		"two fields":          {`[{"op":"add","path":"/spec/hostname","value":"a"},{"op":"add","path":"/spec/nodeName","value":"b"}]`, " cannot be changed. Delete and create the MiniPod, or use a MiniDeployment"},
		"nothing added":       {`[{"op":"add","path":"/spec/nodeSelector","value":{}},{"op":"add","path":"/spec/containers/0/command","value":[]},{"op":"add","path":"/spec/containers/0/workingDir","value":""}]`, ""},
		"container renamed":   {`[{"op":"replace","path":"/spec/containers/0/name","value":"b"}]`, "containers cannot be added, removed or reordered"},
		"tolerations":         {`[{"op":"add","path":"/spec/tolerations","value":[{"operator":"Exists"}]}]`, "tolerations cannot be changed"},
		"pull secrets":        {`[{"op":"add","path":"/spec/imagePullSecrets","value":[{"name":"a"}]}]`, "imagePullSecrets cannot be changed"},
		"args":                {`[{"op":"add","path":"/spec/containers/0/args","value":["a"]}]`, "args of container echo cannot be changed"},
		"working directory":   {`[{"op":"add","path":"/spec/containers/0/workingDir","value":"/"}]`, "workingDir of container echo cannot be changed"},
		"pull policy":         {`[{"op":"add","path":"/spec/containers/0/imagePullPolicy","value":"Never"}]`, "imagePullPolicy of container echo cannot be changed"},
		"node selector added": {`[{"op":"add","path":"/spec/nodeSelector","value":{"a":"b"}}]`, "nodeSelector cannot be changed"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			kind := jsonPatch
			if strings.HasPrefix(tc.patch, "{") {
				kind = mergePatch
			}
			err := c.Patch(t.Context(), object.DeepCopy(), client.RawPatch(kind, []byte(tc.patch)), client.DryRunAll)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want it to contain %q", err, tc.want)
			}
		})
	}
}

// The binding is final, and agents can watch for their own MiniPods on the server's side.
func TestBinding(t *testing.T) {
	_, c := testenv.Start(t)
	namespace := testenv.Namespace(t, c)
	for _, name := range []string{"here", "there"} {
		object, _ := load(t, "../../config/samples/minipod.yaml", namespace)
		object.SetName(name)
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		bind := client.RawPatch(mergePatch, []byte(`{"status":{"nodeName":"`+name+`"}}`))
		if err := c.Status().Patch(t.Context(), object, bind); err != nil {
			t.Fatal(err)
		}
		again := client.RawPatch(mergePatch, []byte(`{"status":{"nodeName":"elsewhere"}}`))
		if err := c.Status().Patch(t.Context(), object, again); err == nil || !strings.Contains(err.Error(), "a bound MiniPod stays on its node") {
			t.Errorf("binding again: %v", err)
		}
	}
	var pods miniv1.MiniPodList
	if err := c.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingFields{"status.nodeName": "here"}); err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 1 || pods.Items[0].Name != "here" {
		t.Errorf("selected by node: %d MiniPods, want the one that is there", len(pods.Items))
	}
}

// kubectl's client-side apply keeps the whole object in an annotation of at most 256 KiB.
func TestCRDSizes(t *testing.T) {
	files, err := filepath.Glob("../../config/crd/bases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs found: %v", err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 256<<10 {
			t.Errorf("%s has %d bytes, want at most 256 KiB", file, info.Size())
		}
	}
}

package api

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/test/testenv"
)

const indexedJob = `{apiVersion: miniplane.dev/v1alpha1, kind: MiniJob, metadata: {name: j}, spec: {completionMode: Indexed, completions: 5, parallelism: 5, suspend: SUSPEND,
  backoffLimitPerIndex: 1, successPolicy: {rules: [{succeededIndexes: "0,2-4", succeededCount: 4}]}, managedBy: example.com/other,
  podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {containerName: c, operator: In, values: [1, 42]}}]},
  template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}`

// What a native Job cannot change, a MiniJob cannot; and what it can while it is suspended.
func TestWhatOfAMiniJobCannotBeChanged(t *testing.T) {
	_, c := testenv.Start(t)
	running, suspended := job(t, c, "false"), job(t, c, "true")
	const template = " of the template cannot be changed"
	for name, tc := range map[string]struct {
		object      *unstructured.Unstructured
		patch, want string
	}{
		"completion mode":        {running, `{"spec":{"completionMode":"NonIndexed"}}`, "completionMode cannot be changed"},
		"completions":            {running, `{"spec":{"completions":4}}`, "completions cannot be changed"},
		"with parallelism":       {running, `{"spec":{"completions":9,"parallelism":9}}`, ""},
		"parallelism":            {running, `{"spec":{"parallelism":2}}`, ""},
		"no completions":         {running, `{"spec":{"completions":null}}`, "completions cannot be changed"},
		"failure policy":         {running, `{"spec":{"podFailurePolicy":null}}`, "podFailurePolicy cannot be changed"},
		"success policy":         {running, `{"spec":{"successPolicy":{"rules":[{"succeededCount":1}]}}}`, "successPolicy cannot be changed"},
		"back-off per index":     {running, `{"spec":{"backoffLimitPerIndex":2}}`, "backoffLimitPerIndex cannot be changed"},
		"back-off":               {running, `{"spec":{"backoffLimit":2}}`, ""},
		"managed by":             {running, `{"spec":{"managedBy":null}}`, "managedBy cannot be changed"},
		"selector":               {running, `{"spec":{"manualSelector":true,"selector":{"matchLabels":{"a":"b"}}}}`, "selector cannot be changed"},
		"suspend":                {running, `{"spec":{"suspend":true}}`, ""},
		"image":                  {running, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"v2"}]}}}}`, "image of container c" + template},
		"labels":                 {running, `{"spec":{"template":{"metadata":{"labels":{"a":"c"}}}}}`, "labels" + template},
		"node selector":          {running, `{"spec":{"template":{"spec":{"nodeSelector":{"a":"b"}}}}}`, "nodeSelector" + template},
		"suspended, image":       {suspended, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"v2"}]}}}}`, "image of container c" + template},
		"suspended, name":        {suspended, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i"},{"name":"d","image":"i"}]}}}}`, "names of containers" + template},
		"suspended, labels":      {suspended, `{"spec":{"template":{"metadata":{"labels":{"a":"c"},"annotations":{"x":"y"}}}}}`, ""},
		"suspended, where":       {suspended, `{"spec":{"template":{"spec":{"nodeSelector":{"a":"b"},"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}},"tolerations":[{"operator":"Exists"}]}}}}`, ""},
		"suspended, resources":   {suspended, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":1}}}]}}}}`, ""},
		"suspended, our labels":  {suspended, `{"spec":{"template":{"metadata":{"labels":{"controller-uid":"x"}}}}}`, "labels of the template that the controller gives itself"},
		"suspended, and resumed": {suspended, `{"spec":{"suspend":false,"template":{"spec":{"nodeSelector":{"a":"b"}}}}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			judge(t, c.Patch(t.Context(), tc.object.DeepCopy(), client.RawPatch(mergePatch, []byte(tc.patch)), client.DryRunAll), tc.want)
		})
	}
	// While something of it runs yet, the template stays.
	if err := c.Status().Patch(t.Context(), suspended, client.RawPatch(mergePatch, []byte(`{"status":{"active":1,"succeeded":0,"failed":0}}`))); err != nil {
		t.Fatal(err)
	}
	judge(t, c.Patch(t.Context(), suspended, client.RawPatch(mergePatch, []byte(`{"spec":{"template":{"spec":{"nodeSelector":{"a":"b"}}}}}`))), "nodeSelector"+template)
}

func job(t *testing.T, c client.Client, suspend string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.Replace(indexedJob, "SUSPEND", suspend, 1)), object); err != nil {
		t.Fatal(err)
	}
	object.SetNamespace(testenv.Namespace(t, c))
	if err := strict(c).Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	return object
}

// Fields that native manifests often have.
func TestJobsOfManifests(t *testing.T) {
	_, c := testenv.Start(t)
	ns := testenv.Namespace(t, c)
	for name, tc := range map[string]struct{ spec, want string }{
		"bare":              {`{template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, ""},
		"work queue":        {`{parallelism: 3, template: {spec: {restartPolicy: OnFailure, containers: [{name: c, image: i}]}}}`, ""},
		"its own name":      {`{template: {metadata: {labels: {job-name: j}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, ""},
		"no restart policy": {`{template: {spec: {containers: [{name: c, image: i}]}}}`, "restartPolicy must be OnFailure or Never"},
		"of a container":    {`{template: {spec: {restartPolicy: Never, containers: [{name: c, image: i, restartPolicy: OnFailure}]}}}`, ""},
		"deadlines":         {`{activeDeadlineSeconds: 5, template: {spec: {activeDeadlineSeconds: 3, restartPolicy: Never, containers: [{name: c, image: i}]}}}`, ""},
		"manual":            {`{manualSelector: true, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, ""},
		"nobody's manager":  {`{managedBy: nobody, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, "managedBy"},
		"unknown field":     {`{scheduling: {}, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, "unknown field"},
		"twice an exit code": {`{podFailurePolicy: {rules: [{action: Count, onExitCodes: {operator: NotIn, values: [0, 0]}}]},
		  template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, "Duplicate value"},
		"a volume of nothing": {`{template: {spec: {restartPolicy: Never, volumes: [{name: v}], containers: [{name: c, image: i}]}}}`, "a volume must be one of"},
		"a port twice":        {`{template: {spec: {restartPolicy: Never, containers: [{name: c, image: i, ports: [{name: p, containerPort: 1}, {name: p, containerPort: 2}]}]}}}`, "port names must be unique"},
	} {
		t.Run(name, func(t *testing.T) {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(`{apiVersion: miniplane.dev/v1alpha1, kind: MiniJob, metadata: {name: j, namespace: `+ns+`}, spec: `+tc.spec+`}`), object); err != nil {
				t.Fatal(err)
			}
			judge(t, strict(c).Create(t.Context(), object, client.DryRunAll), tc.want)
		})
	}
}

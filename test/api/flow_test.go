package api

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	flowv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// flowHeader of an answer names the FlowSchema that the request was taken for.
const flowHeader = "X-Kubernetes-Pf-Flowschema-Uid"

// installFlows applies config/flow and returns the FlowSchemas' names by UID.
func installFlows(t *testing.T, clients kubernetes.Interface) map[types.UID]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "flow", "flow.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[types.UID]string{}
	flows := clients.FlowcontrolV1()
	for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "PriorityLevelConfiguration":
			var level flowv1.PriorityLevelConfiguration
			if err = yaml.UnmarshalStrict(document, &level); err == nil {
				_, err = flows.PriorityLevelConfigurations().Create(t.Context(), &level, metav1.CreateOptions{})
				t.Cleanup(func() {
					_ = flows.PriorityLevelConfigurations().Delete(t.Context(), level.Name, metav1.DeleteOptions{})
				})
			}
		case "FlowSchema":
			var schema flowv1.FlowSchema
			if err = yaml.UnmarshalStrict(document, &schema); err == nil {
				var made *flowv1.FlowSchema
				if made, err = flows.FlowSchemas().Create(t.Context(), &schema, metav1.CreateOptions{}); err == nil {
					names[made.UID] = made.Name
				}
			}
		default:
			t.Fatalf("a %s in config/flow", kind.Kind)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// taken notes for which FlowSchema the last request was taken.
type taken struct {
	next http.RoundTripper
	last types.UID
}

func (f *taken) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := f.next.RoundTrip(r)
	if err == nil {
		f.last = types.UID(resp.Header.Get(flowHeader))
	}
	return resp, err
}

// What agents write of their lives and of MiniPods has a share of the API server of its own, and what others write has none of it.
func TestFlows(t *testing.T) {
	cfg, _ := testenv.Start(t)
	names := installFlows(t, kubernetes.NewForConfigOrDie(cfg))
	if len(names) != 2 {
		t.Fatalf("FlowSchemas %v", names)
	}
	agent := rest.ImpersonationConfig{UserName: "system:serviceaccount:miniplane-system:miniplane-agent",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:miniplane-system", "system:authenticated"}}
	lease := func(namespace string) client.Object {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "n1"}}
	}
	pod := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	for name, c := range map[string]struct {
		who    rest.ImpersonationConfig
		object client.Object
		status bool
		want   string
	}{
		"heartbeat":               {agent, lease(miniv1.SystemNamespace), false, "miniplane-heartbeats"},
		"heartbeat of a Node":     {agent, lease("kube-node-lease"), false, "miniplane-heartbeats"},
		"status of the node":      {agent, node, true, "miniplane-heartbeats"},
		"status of a MiniPod":     {agent, pod, true, "miniplane-statuses"},
		"finalizer":               {agent, pod, false, "miniplane-statuses"},
		"with a certificate":      {rest.ImpersonationConfig{UserName: "system:miniplane:node:n1", Groups: []string{"system:miniplane:nodes", "system:authenticated"}}, pod, true, "miniplane-statuses"},
		"another Lease":           {agent, lease("default"), false, ""},
		"another's Lease":         {rest.ImpersonationConfig{UserName: "eve", Groups: []string{"system:authenticated"}}, lease(miniv1.SystemNamespace), false, ""},
		"another's MiniPod":       {rest.ImpersonationConfig{UserName: "eve", Groups: []string{"system:authenticated"}}, pod, true, ""},
		"another service account": {rest.ImpersonationConfig{UserName: "system:serviceaccount:miniplane-system:default", Groups: agent.Groups}, pod, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := rest.CopyConfig(cfg)
			cfg.Impersonate = c.who
			flow := &taken{}
			cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { flow.next = next; return flow })
			api, err := client.New(cfg, client.Options{Scheme: testenv.Scheme()})
			if err != nil {
				t.Fatal(err)
			}
			patch := client.RawPatch(types.MergePatchType, []byte(`{}`))
			testenv.Eventually(t, func() string { // the API server takes a moment to hear of a FlowSchema
				object := c.object.DeepCopyObject().(client.Object)
				if c.status {
					err = api.Status().Patch(t.Context(), object, patch)
				} else {
					err = api.Patch(t.Context(), object, patch)
				}
				if flow.last == "" {
					return "no answer names a flow"
				}
				if got := names[flow.last]; got != c.want {
					return "taken for " + got
				}
				return ""
			})
		})
	}
}

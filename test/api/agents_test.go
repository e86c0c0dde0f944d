package api

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

const agentNamespace = "miniplane-system"

// agentOf is how the API server sees the agent of a node: by the ServiceAccount's token with its claim, or by certificate.
var agentOf = map[string]func(node string) rest.ImpersonationConfig{
	"token": func(node string) rest.ImpersonationConfig {
		return rest.ImpersonationConfig{
			UserName: "system:serviceaccount:" + agentNamespace + ":miniplane-agent",
			Groups:   []string{"system:serviceaccounts", "system:authenticated"},
			Extra:    map[string][]string{"authentication.kubernetes.io/node-name": {node}},
		}
	},
	"certificate": func(node string) rest.ImpersonationConfig {
		return rest.ImpersonationConfig{
			UserName: "system:miniplane:node:" + node,
			Groups:   []string{"system:miniplane:nodes", "system:authenticated"},
		}
	},
}

func as(t *testing.T, config *rest.Config, who rest.ImpersonationConfig) client.Client {
	t.Helper()
	config = rest.CopyConfig(config)
	config.Impersonate = who
	c, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// installRights gives agents the rights of an installation, and those of a cluster without kubelets.
func installRights(t *testing.T, c client.Client) {
	t.Helper()
	for _, file := range []string{"config/rbac/namespace.yaml", "config/rbac/agent.yaml", "hack/cluster/rbac.yaml"} {
		if err := testenv.Apply(t.Context(), c, filepath.Join(testenv.Root(), file)); err != nil {
			t.Fatal(err)
		}
	}
}

// boundPod makes a MiniPod that is bound to the node.
func boundPod(t *testing.T, c client.Client, namespace, name, node string) *miniv1.MiniPod {
	t.Helper()
	pod := &miniv1.MiniPod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{"app": "web"},
			Finalizers: []string{"example.com/other", miniv1.AgentFinalizer},
		},
		Spec: miniv1.MiniPodSpec{Containers: []miniv1.Container{{Name: "c", Image: "miniplane.dev/echo:v1"}}},
	}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if node != "" {
		patch := fmt.Sprintf(`{"status":{"nodeName":%q}}`, node)
		if err := c.Status().Patch(t.Context(), pod, client.RawPatch(mergePatch, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	return pod
}

// agentWrite is something that the agent of node one does; want is part of the refusal, "" if it may.
type agentWrite struct {
	name string
	do   func() error
	want string
}

func TestAgentsWriteOnlyWhatIsTheirs(t *testing.T) {
	config, admin := testenv.Start(t)
	installRights(t, admin)
	for kind, identity := range agentOf {
		t.Run(kind, func(t *testing.T) {
			one := as(t, config, identity(kind+"-one"))
			var writes []agentWrite
			writes = append(writes, podWrites(t, admin, one, kind+"-one")...)
			writes = append(writes, nodeWrites(t, one, kind+"-one")...)
			for _, w := range writes {
				t.Run(w.name, func(t *testing.T) { judge(t, w.do(), w.want) })
			}
		})
	}
	t.Run("token without a node", func(t *testing.T) {
		identity := agentOf["token"]("")
		identity.Extra = nil
		err := as(t, config, identity).Create(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
		judge(t, err, "credential names no node")
	})
	t.Run("others are not concerned", func(t *testing.T) {
		pod := boundPod(t, admin, testenv.Namespace(t, admin), "p", "anywhere")
		judge(t, patchWith(t, admin, pod, `{"metadata":{"labels":{"app":"other"}}}`), "")
	})
}

func judge(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("allowed; want a refusal with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("refused with\n%v\nwant it to contain %q", err, want)
	}
}

func patchWith(t *testing.T, c client.Client, o client.Object, patch string) error {
	t.Helper()
	return c.Patch(t.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(mergePatch, []byte(patch)))
}

// podWrites are what an agent could do to MiniPods.
func podWrites(t *testing.T, admin, agent client.Client, node string) []agentWrite {
	t.Helper()
	namespace := testenv.Namespace(t, admin)
	mine := boundPod(t, admin, namespace, "mine", node)
	other := boundPod(t, admin, namespace, "other", "two")
	unbound := boundPod(t, admin, namespace, "unbound", "")
	status := func(pod *miniv1.MiniPod, patch string) func() error {
		return func() error {
			return agent.Status().Patch(t.Context(), pod.DeepCopy(), client.RawPatch(mergePatch, []byte(patch)))
		}
	}
	patch := func(pod *miniv1.MiniPod, patch string) func() error {
		return func() error { return patchWith(t, agent, pod, patch) }
	}
	const running = `{"status":{"phase":"Running"}}`
	const onlyFinalizer, onlyBound = "may take off the finalizer", "bound to its node"
	return []agentWrite{
		{"status of a MiniPod of its own", status(mine, running), ""},
		{"status of another node's MiniPod", status(other, running), onlyBound},
		{"status of an unbound MiniPod", status(unbound, running), onlyBound},
		{"binding to itself", status(unbound, fmt.Sprintf(`{"status":{"nodeName":%q}}`, node)), onlyBound},
		{"giving a MiniPod away", status(mine, `{"status":{"nodeName":"two"}}`), "a bound MiniPod stays on its node"},
		{"image", patch(mine, `{"spec":{"containers":[{"name":"c","image":"miniplane.dev/echo:v2"}]}}`), onlyFinalizer},
		{"labels", patch(mine, `{"metadata":{"labels":{"app":"x"}}}`), onlyFinalizer},
		{"annotations", patch(mine, `{"metadata":{"annotations":{"a":"b"}}}`), onlyFinalizer},
		{"owner", patch(mine, `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"y"}]}}`), onlyFinalizer},
		{"another finalizer off", patch(mine, `{"metadata":{"finalizers":["miniplane.dev/agent"]}}`), onlyFinalizer},
		{"finalizer of another node's MiniPod", patch(other, `{"metadata":{"finalizers":["example.com/other"]}}`), onlyBound},
		{"its finalizer off", patch(mine, `{"metadata":{"finalizers":["example.com/other"]}}`), ""},
		{"delete", func() error { return agent.Delete(t.Context(), mine.DeepCopy()) }, "cannot delete"},
	}
}

// nodeWrites are what an agent could do to nodes and leases.
func nodeWrites(t *testing.T, agent client.Client, node string) []agentWrite {
	t.Helper()
	create := func(o client.Object) func() error { return func() error { return agent.Create(t.Context(), o) } }
	miniNode := func(name string) *miniv1.MiniNode { return &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	lease := func(name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: agentNamespace, Name: name}}
	}
	const itsName = "the name of its node"
	writes := []agentWrite{
		{"its MiniNode", create(miniNode(node)), ""},
		{"status of its MiniNode", func() error {
			patch := client.RawPatch(mergePatch, []byte(`{"status":{"nodeIP":"192.0.2.1"}}`))
			return agent.Status().Patch(t.Context(), miniNode(node), patch)
		}, ""},
		{"another MiniNode", create(miniNode(node + "-x")), itsName},
		{"its Lease", create(lease(node)), ""},
		{"another Lease", create(lease(node + "-x")), itsName},
		{"the manager's Lease", create(lease("miniplane-manager")), itsName},
	}
	if _, certificate := strings.CutPrefix(node, "certificate"); certificate {
		writes = append(writes,
			agentWrite{"its Node", create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}), ""},
			agentWrite{"another Node", create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node + "-x"}}), itsName})
	}
	return writes
}

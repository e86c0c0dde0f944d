package node

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
)

// grant plays the manager: it gives the node's account the right to what a MiniPod names.
func (e *env) grant(pod *miniv1.MiniPod) {
	e.t.Helper()
	var node miniv1.MiniNode
	if err := e.api.Get(context.Background(), client.ObjectKey{Name: e.name}, &node); err != nil {
		e.t.Fatal(err)
	}
	e.ensureNamespace(miniv1.NodesNamespace)
	n := grants.Of(&node)
	role, binding := n.Role(e.namespace, grants.References(pod)), n.Binding(e.namespace)
	role.Name, binding.Name, binding.RoleRef.Name = "reads", "reads", "reads" // the other name is the manager's alone to give
	for _, o := range []client.Object{n.Account(), role, binding} {
		if err := e.api.Create(context.Background(), o); err != nil {
			e.t.Fatal(err)
		}
	}
}

// Variables come from what the namespace has, read as the node and with its rights alone. A container whose ConfigMap is missing waits, also over
// the death of its agent, starts when it comes, and can be deleted meanwhile.
func TestVariables(t *testing.T) {
	e := newEnv(t)
	uses := func(p *miniv1.MiniPod) {
		p.Labels = map[string]string{"app": "a"}
		p.Spec.Containers[0].EnvFrom = []miniv1.EnvFromSource{{Prefix: "S_", ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "settings"}}}
		p.Spec.Containers[0].Env = []miniv1.EnvVar{
			{Name: "PASSWORD", ValueFrom: &miniv1.EnvVarSource{SecretKeyRef: &miniv1.SecretKeySelector{Name: "keys", Key: "password"}}},
			{Name: "APP", ValueFrom: &miniv1.EnvVarSource{FieldRef: &miniv1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
			{Name: "BOTH", Value: "$(S_colour)-$(PASSWORD)-$(APP)"},
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "keys"}, Data: map[string][]byte{"password": []byte("p")}}
	if err := e.api.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	pod := e.sh("a", "echo has $BOTH; exec sleep 1000", uses)
	e.grant(pod)
	e.run(pod)
	e.run(e.sh("deleted", "exec sleep 1000", uses))
	for _, name := range []string{"a", "deleted"} {
		waiting := e.shows(name, miniv1.ReasonCreateContainerConfig).Status.ContainerStatuses[0].State.Waiting
		if !strings.Contains(waiting.Message, `configmap "settings" not found`) {
			t.Errorf("%s: %q", name, waiting.Message)
		}
	}
	e.delete("deleted")
	e.gone("deleted")
	e.kill()
	e.start()
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "settings"}, Data: map[string]string{"colour": "blue"}}
	if err := e.api.Create(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	pod = e.shows("a", "Running")
	e.until("it has its variables", func() bool { return strings.Contains(e.logOf(pod), "has blue-p-a") })
	e.delete("a")
	e.gone("a")
	e.clean()
}

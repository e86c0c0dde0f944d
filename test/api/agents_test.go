package api

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

const agentNamespace = miniv1.SystemNamespace

// least is how many refusals there must be for each kind of credential.
const least = 40

// An agent's credential, as the API server sees it: the token of its Pod, or a certificate.
type credential struct {
	name string
	// client speaks with the credential of the node's agent.
	client func(t *testing.T, config *rest.Config, admin client.Client, node string) client.Client
	// registers: it also has the rights for core Nodes.
	registers bool
}

var credentials = []credential{
	{"token", func(t *testing.T, config *rest.Config, admin client.Client, node string) client.Client {
		t.Helper()
		return withToken(t, config, podToken(t, admin, node))
	}, false},
	{"certificate", func(t *testing.T, config *rest.Config, _ client.Client, node string) client.Client {
		t.Helper()
		return as(t, config, rest.ImpersonationConfig{
			UserName: "system:miniplane:node:" + node, Groups: []string{"system:miniplane:nodes", "system:authenticated"}})
	}, true},
}

func as(t *testing.T, config *rest.Config, who rest.ImpersonationConfig) client.Client {
	t.Helper()
	config = rest.CopyConfig(config)
	config.Impersonate = who
	return newClient(t, config)
}

func withToken(t *testing.T, config *rest.Config, token string) client.Client {
	t.Helper()
	config = rest.AnonymousClientConfig(config)
	config.BearerToken, config.QPS = token, -1
	return newClient(t, config)
}

func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// podToken is the token that a kubelet mounts into the agent's Pod on this node: bound to the Pod, and so to the node.
func podToken(t *testing.T, admin client.Client, node string) string {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: agentNamespace, Name: "miniplane-agent-" + node}, Spec: podSpec()}
	pod.Spec.NodeName, pod.Spec.ServiceAccountName = node, "miniplane-agent"
	if err := admin.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(context.Background(), pod, client.GracePeriodSeconds(0)) })
	return tokenOf(t, admin, pod.Spec.ServiceAccountName, pod)
}

// tokenOf asks for a token of a ServiceAccount, bound to the Pod if there is one.
func tokenOf(t *testing.T, c client.Client, name string, pod *corev1.Pod) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: agentNamespace, Name: name}}
	if err := c.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// installRights gives agents the rights of an installation, and those of a cluster without kubelets.
func installRights(t *testing.T, c client.Client) {
	t.Helper()
	for _, file := range []string{"config/rbac/namespace.yaml", "config/rbac/agent.yaml", "hack/cluster/rbac.yaml"} {
		if err := testenv.Apply(t.Context(), c, filepath.Join(testenv.Root(), file)); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
}

// boundPod makes a MiniPod that is bound to the node.
func boundPod(t *testing.T, c client.Client, namespace, name, node string, change ...func(*miniv1.MiniPod)) *miniv1.MiniPod {
	t.Helper()
	pod := &miniv1.MiniPod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{"app": "web"},
			Finalizers: []string{"example.com/other", miniv1.AgentFinalizer},
		},
		Spec: miniv1.MiniPodSpec{Containers: []miniv1.Container{{Name: "c", Image: "miniplane.dev/echo:v1"}}},
	}
	for _, f := range change {
		f(pod)
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

// attempt is something that the agent of a node does; want is part of the refusal, "" if it may.
type attempt struct {
	what string
	do   func() error
	want string
}

// Each line is an attempt with a credential that the API server itself has judged: with a real token, no part of the way from
// the token to the refusal is left out.
func TestAgentsWriteOnlyWhatIsTheirs(t *testing.T) {
	config, admin := testenv.Start(t)
	installRights(t, admin)
	for _, kind := range credentials {
		t.Run(kind.name, func(t *testing.T) {
			a := newAttempts(t, config, admin, kind)
			all := slices.Concat(a.onMiniPods(), a.onMiniNodes(), a.onLeases(), a.onEvents(), a.onOthers())
			if kind.registers {
				all = append(all, a.onNodes()...)
			}
			refusals := 0
			for _, try := range all {
				if try.want != "" {
					refusals++
				}
				t.Run(try.what, func(t *testing.T) { judge(t, try.do(), try.want) })
			}
			if refusals < least {
				t.Errorf("%d refusals are tried, want at least %d", refusals, least)
			}
		})
	}
	t.Run("token without a node", func(t *testing.T) {
		err := withToken(t, config, tokenOf(t, admin, "miniplane-agent", nil)).
			Create(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
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

// uidOf is a UID that nothing has.
const uidOf = types.UID("00000000-0000-0000-0000-000000000001")

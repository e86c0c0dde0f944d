package api

import (
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	agent "miniplane.dev/miniplane/nodeagent/grants"
)

// token asks for one of an account of the world's namespace.
func (w *grantWorld) token(r *agent.Reader, account, audience string, lifetime time.Duration) (string, time.Duration, error) {
	return r.Token(w.Context(), types.NamespacedName{Namespace: w.ns, Name: account}, audience, lifetime)
}

// An agent has tokens of the ServiceAccounts whose tokens its MiniPods ask for, and of no others; they are what the API server takes for the account's, for
// the audience and the time that was asked for. Nobody gets them with the node's own identity for longer, or bound.
func TestTokensOfMiniPods(t *testing.T) {
	w := newGrantWorld(t)
	w.manager()
	_, one := w.node("tokens-one")
	_, two := w.node("tokens-two")
	for _, name := range []string{"robot", "other"} {
		w.must(w.admin.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}}))
	}
	pod := boundPod(t, w.admin, w.ns, "user", "tokens-one", func(p *miniv1.MiniPod) {
		p.Spec.ServiceAccountName = "robot"
		p.Spec.Volumes = []miniv1.Volume{{Name: "token", Projected: &miniv1.ProjectedVolumeSource{Sources: []miniv1.VolumeProjection{
			{ServiceAccountToken: &miniv1.ServiceAccountTokenProjection{Path: "token"}}}}}}
	})
	token, good, err := w.token(one, "robot", "vault", 10*time.Minute)
	if err != nil || good != 10*time.Minute {
		t.Fatalf("good for %s, %v", good, err)
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{"vault"}}}
	w.must(w.admin.Create(t.Context(), review))
	if got, want := review.Status.User.Username, "system:serviceaccount:"+w.ns+":robot"; !review.Status.Authenticated || got != want {
		t.Errorf("it is %q's, want %q: %s", got, want, review.Status.Error)
	}
	for what, try := range map[string]struct {
		reader  *agent.Reader
		account string
	}{"another account": {one, "other"}, "another node": {two, "robot"}} {
		if _, _, err := w.token(try.reader, try.account, "", time.Hour); err == nil || apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "not given the right") {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.must(w.admin.Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "robot"}}))
	if _, _, err := w.token(one, "robot", "", time.Hour); !apierrors.IsNotFound(err) {
		t.Errorf("of an account that is gone: %v", err)
	}

	node := rest.CopyConfig(w.config)
	node.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + miniv1.NodesNamespace + ":tokens-one",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + miniv1.NodesNamespace, "system:authenticated"}}
	thief := newClient(t, node)
	w.must(w.admin.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "robot"}}))
	long := int64(7 * 86400)
	for what, spec := range map[string]authenticationv1.TokenRequestSpec{
		"for a day at most": {ExpirationSeconds: &long},
		"bound to nothing":  {BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: "x", UID: pod.UID}},
	} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "robot"}}
		if err := thief.SubResource("token").Create(t.Context(), account, &authenticationv1.TokenRequest{Spec: spec}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

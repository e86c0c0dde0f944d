package podworker

import (
	"context"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Reader reads what a MiniPod uses of its namespace, and waits for the right to.
type Reader interface {
	Get(ctx context.Context, key types.NamespacedName, object client.Object) error
	// Token gives one of a ServiceAccount, and for how long it is good. An account that is not there is the API server's NotFound.
	Token(ctx context.Context, account types.NamespacedName, audience string, lifetime time.Duration) (token string, good time.Duration, err error)
}

// plain is a client as a Reader, for those who have all rights.
type plain struct{ client.Client }

// Get implements Reader.
func (p plain) Get(ctx context.Context, key types.NamespacedName, object client.Object) error {
	return p.Client.Get(ctx, key, object)
}

// Token implements Reader.
func (p plain) Token(ctx context.Context, account types.NamespacedName, audience string, lifetime time.Duration) (string, time.Duration, error) {
	seconds := int64(lifetime / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	err := p.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}, request)
	return request.Status.Token, lifetime, err
}

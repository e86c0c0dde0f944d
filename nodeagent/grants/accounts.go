package grants

import (
	"context"
	"errors"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// asking is to have a token of a MiniPod's ServiceAccount.
type asking struct {
	r       *Reader
	account *corev1.ServiceAccount
	request *authenticationv1.TokenRequest
}

func (q asking) do(ctx context.Context) error {
	return q.r.next.SubResource("token").Create(ctx, q.account, q.request)
}

// alone implements request: no older version let agents have tokens of MiniPods' accounts.
func (q asking) alone(_ context.Context, refused error) error { return refused }

// Token asks for a token of a ServiceAccount that MiniPods of the node name, for an audience (the API server, if that is empty) and a time, and waits for
// the right to. It tells for how long the token is good: the API server may give less than was asked for. An account that is not there is the
// API server's NotFound.
func (r *Reader) Token(ctx context.Context, account types.NamespacedName, audience string, lifetime time.Duration) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+longestWait)
	defer cancel()
	seconds := int64(lifetime / time.Second)
	q := asking{r: r, account: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}},
		request: &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}}
	if audience != "" {
		q.request.Spec.Audiences = []string{audience}
	}
	err := r.wait(ctx, account, q)
	if errors.Is(err, errNoAccount) { // which is the node's, so that it must not be taken for the other one's absence
		err = errors.New(err.Error())
	}
	if err != nil {
		return "", 0, err
	}
	if granted := q.request.Spec.ExpirationSeconds; granted != nil {
		seconds = *granted
	}
	return q.request.Status.Token, time.Duration(seconds) * time.Second, nil
}

package grants

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	tokenSeconds = 3600
	// renewAt is the part of a token's life, in tenths, after which a new one is asked for.
	renewAt = 8
	// askTimeout is how long the API server may take to give one.
	askTimeout = 10 * time.Second
)

// errNoAccount is that there is no ServiceAccount of the node yet.
var errNoAccount = errors.New("it has no ServiceAccount yet")

// tokens of the node's ServiceAccount, the last of which is kept until it is old.
type tokens struct {
	agent client.Client
	node  string
	// turn is held by who reads or changes the rest; a channel, because who waits for it may give up.
	turn  chan struct{}
	token string
	until time.Time
}

func newTokens(agent client.Client, node string) *tokens {
	return &tokens{agent: agent, node: node, turn: make(chan struct{}, 1)}
}

// get gives the token at hand, or a new one.
func (t *tokens) get(ctx context.Context) (string, error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-t.turn }()
	if t.token != "" && time.Now().Before(t.until) {
		return t.token, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	seconds := int64(tokenSeconds)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.NodesNamespace, Name: t.node}}
	asked := time.Now()
	err := t.agent.SubResource("token").Create(ctx, account, request)
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("%w: %w", errNoAccount, err)
	}
	if err != nil {
		return "", fmt.Errorf("a token for reading what MiniPods use: %w", err)
	}
	// By how long it is good, and not until when: the clocks of nodes differ.
	if granted := request.Spec.ExpirationSeconds; granted != nil {
		seconds = *granted
	}
	t.token, t.until = request.Status.Token, asked.Add(time.Duration(seconds)*time.Second*renewAt/10)
	return t.token, nil
}

// forget drops a token that the API server does not take any more: its account is gone, or was made anew.
func (t *tokens) forget(token string) {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	if t.token == token {
		t.token = ""
	}
}

type tokenKey struct{}

func withToken(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, tokenKey{}, token)
}

// bearer adds the token of its context to a request.
type bearer struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	token, _ := request.Context().Value(tokenKey{}).(string)
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(request)
}

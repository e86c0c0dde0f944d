package volumes

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
)

// Objects are the ConfigMaps and Secrets of a namespace that a MiniPod uses, as they were read; those that are not there are missing.
type Objects struct {
	ConfigMaps map[string]*corev1.ConfigMap
	Secrets    map[string]*corev1.Secret
	// Tokens of the MiniPod's ServiceAccount.
	Tokens map[Token]string
}

// Token is what a token is asked for.
type Token struct {
	// Audience that it is for; the API server when empty.
	Audience string
	// Lifetime is for how long it is good.
	Lifetime time.Duration
}

// defaultLifetime is that of a native volume's token.
const defaultLifetime = time.Hour

func tokenOf(s *miniv1.ServiceAccountTokenProjection) Token {
	out := Token{Audience: s.Audience, Lifetime: defaultLifetime}
	if s.ExpirationSeconds != nil {
		out.Lifetime = time.Duration(*s.ExpirationSeconds) * time.Second
	}
	return out
}

// TokensOf are the tokens that are among the files of a volume.
func TokensOf(v *miniv1.Volume) []Token {
	if !v.HasTokens() {
		return nil
	}
	var out []Token
	for i := range v.Projected.Sources {
		if s := v.Projected.Sources[i].ServiceAccountToken; s != nil {
			out = append(out, tokenOf(s))
		}
	}
	return out
}

// Version of an object as it was read; empty if it was not there.
func (o Objects) Version(ref grants.Reference) string {
	if c := o.ConfigMaps[ref.Name]; ref.Resource == grants.ConfigMaps && c != nil {
		return c.ResourceVersion
	}
	if s := o.Secrets[ref.Name]; ref.Resource == grants.Secrets && s != nil {
		return s.ResourceVersion
	}
	return ""
}

// Missing is an object, or a key of one, that is needed and not there.
type Missing struct {
	// Kind of the object, as in "configmap".
	Kind, Name string
	// Key that is not in it; empty if the object is not there.
	Key string
}

// Error implements error, in a kubelet's words.
func (m *Missing) Error() string {
	if m.Key != "" {
		return fmt.Sprintf("%s %q has no key %q", m.Kind, m.Name, m.Key)
	}
	return fmt.Sprintf("%s %q not found", m.Kind, m.Name)
}

// optional tells whether an object need not be there.
func optional(b *bool) bool { return b != nil && *b }

// ConfigMap finds one. Nil and no error: it is not there, and need not be.
func (o Objects) ConfigMap(name string, need *bool) (*corev1.ConfigMap, error) {
	found := o.ConfigMaps[name]
	if found == nil && !optional(need) {
		return nil, &Missing{Kind: "configmap", Name: name}
	}
	return found, nil
}

// Secret finds one. Nil and no error: it is not there, and need not be.
func (o Objects) Secret(name string, need *bool) (*corev1.Secret, error) {
	found := o.Secrets[name]
	if found == nil && !optional(need) {
		return nil, &Missing{Kind: "secret", Name: name}
	}
	return found, nil
}

package podworker

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// pullSecrets reads the credentials that the MiniPod names, as they are now. A Secret that is missing or broken is passed
// over, as a native Pod's is: the image may be public.
func (p *Pool) pullSecrets(ctx context.Context, pod *miniv1.MiniPod) []runtime.RegistryAuth {
	var out []runtime.RegistryAuth
	for _, ref := range pod.Spec.ImagePullSecrets {
		var secret corev1.Secret
		if err := p.Client.Get(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: ref.Name}, &secret); err != nil {
			p.Log.Info("Cannot read a pull secret; pulling without it", "secret", pod.Namespace+"/"+ref.Name, "err", err.Error())
			continue
		}
		auths, err := registryAuths(&secret)
		if err != nil {
			p.Log.Info("Cannot use a pull secret; pulling without it", "secret", pod.Namespace+"/"+ref.Name, "err", err.Error())
			continue
		}
		out = append(out, auths...)
	}
	return out
}

// dockerAuth is one entry of a docker configuration.
type dockerAuth struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Auth     string `json:"auth"`
}

// registryAuths reads a Secret of type kubernetes.io/dockerconfigjson, sorted by registry.
func registryAuths(secret *corev1.Secret) ([]runtime.RegistryAuth, error) {
	data, ok := secret.Data[corev1.DockerConfigJsonKey]
	if !ok {
		return nil, fmt.Errorf("it has no key %s; make it with kubectl create secret docker-registry", corev1.DockerConfigJsonKey)
	}
	var config struct {
		Auths map[string]dockerAuth `json:"auths"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("%s is not a docker configuration", corev1.DockerConfigJsonKey) // the data stays out of logs
	}
	var out []runtime.RegistryAuth
	for registry, entry := range config.Auths {
		username, password, err := entry.credentials()
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", registry, err)
		}
		out = append(out, runtime.RegistryAuth{Registry: registry, Username: username, Password: password,
			Secret: fmt.Sprintf("%s/%s/%s", secret.Namespace, secret.Name, secret.UID)})
	}
	slices.SortFunc(out, func(a, b runtime.RegistryAuth) int { return cmp.Compare(a.Registry, b.Registry) })
	return out, nil
}

func (a dockerAuth) credentials() (username, password string, err error) {
	if a.Username != "" || a.Auth == "" {
		return a.Username, a.Password, nil
	}
	plain, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return "", "", fmt.Errorf("auth is not base64")
	}
	username, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return "", "", fmt.Errorf("auth is not user:password")
	}
	return username, password, nil
}

package podworker

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/imageaccess"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// credentials are what a MiniPod's pull secrets hold.
type credentials struct {
	auths []runtime.RegistryAuth
	// useless says which of the Secrets are of no use, and why; nil if that is none.
	useless error
}

// explain adds to an error which Secrets were of no use, which may be its cause.
func (c credentials) explain(err error) error {
	if err == nil || c.useless == nil {
		return err
	}
	return fmt.Errorf("without secrets that are of no use (%v): %w", c.useless, err) //nolint:errorlint // what err is decides what comes next
}

// mostCredentials is how many are tried for an image, and maxCredential how long one may be, in bytes. A Secret has room for very many that fit, of which each is a question to the
// registry; and what waits for a registry, perhaps for ever, waits with them.
const mostCredentials, maxCredential = 32, 64 << 10

// pullSecrets reads the credentials for an image that the MiniPod, or its ServiceAccount, names, as they are now, the most specific first. A Secret that is missing, broken, or cannot be read is passed
// over, as a native Pod's is: the image may be public. It is told of in useless: it would else look as if the registry refused its password.
func (p *Pool) pullSecrets(ctx context.Context, pod *miniv1.MiniPod, image string) (out credentials) {
	refs := slices.DeleteFunc(slices.Clone(pod.PullSecrets()), func(ref miniv1.LocalObjectReference) bool { return ref.Name == "" })
	secrets, errs := make([]corev1.Secret, len(refs)), make([]error, len(refs))
	var group sync.WaitGroup
	for i, ref := range refs {
		group.Go(func() {
			errs[i] = p.Uses.Get(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: ref.Name}, &secrets[i])
		})
	}
	group.Wait()
	for i, ref := range refs {
		name := pod.Namespace + "/" + ref.Name
		found, err := []runtime.RegistryAuth(nil), errs[i]
		if err == nil {
			found, err = registryAuths(&secrets[i])
		}
		if err != nil {
			out.useless = errors.Join(out.useless, fmt.Errorf("pull secret %s: %w", name, err))
			p.Log.Info("Cannot use a pull secret; pulling without it", "secret", name, "err", err.Error())
		}
		out.auths = append(out.auths, imageaccess.Fitting(image, found)...)
	}
	out.auths = imageaccess.Fitting(image, out.auths)
	out.auths = slices.Clip(out.auths[:min(len(out.auths), mostCredentials)])
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
		if len(username)+len(password) > maxCredential {
			return nil, fmt.Errorf("entry %q: user and password have more than %d bytes", registry, maxCredential)
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
	// With or without padding: people make it by hand, and a kubelet takes both.
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(a.Auth), "="))
	if err != nil {
		return "", "", fmt.Errorf("auth is not base64")
	}
	username, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return "", "", fmt.Errorf("auth is not user:password")
	}
	return username, password, nil
}

package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"miniplane.dev/miniplane/nodeagent/imageaccess"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// PullImage implements runtime.Runtime. Credentials are tried from the most specific on; the last try is without any.
func (r *Runtime) PullImage(ctx context.Context, ref string, auths []runtime.RegistryAuth) (runtime.Image, error) {
	name, err := normalize(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	tries := append(imageaccess.Fitting(name, auths), runtime.RegistryAuth{})
	for i, auth := range tries {
		image, err := r.pull(ctx, name, auth)
		refused := errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err)
		if err == nil || !refused || i == len(tries)-1 {
			return image, err
		}
	}
	return runtime.Image{}, fmt.Errorf("pull %q: no way to try", ref) // there is one at least
}

// pull asks the registry first what the name stands for, so that the image is never there without the record of who may run it. Until
// the end the registry counts as having asked for the credential.
func (r *Runtime) pull(ctx context.Context, name string, auth runtime.RegistryAuth) (runtime.Image, error) {
	speaker := registryClient(runtime.PullProgressOf(ctx))
	defer speaker.CloseIdleConnections()
	var asked atomic.Bool
	resolver := r.resolver(speaker, func(string) (string, string, error) {
		asked.Store(true)
		return auth.Username, auth.Password, nil
	})
	found := resolved{Resolver: resolver}
	var err error
	if found.name, found.target, err = resolver.Resolve(ctx, name); err != nil {
		return runtime.Image{}, explain(name, auth, err)
	}
	if kind := found.target.MediaType; !strings.Contains(kind, "json") { // as all manifests are, and a page to sign in on the way to a registry is not
		return runtime.Image{}, fmt.Errorf("pull %q: what answers as registry %s sends %q, which is no image: %w", name, hostOf(name), kind, errdefs.ErrUnavailable)
	}
	access, err := r.accessAfter(ctx, name, found.target.Digest, auth)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("pull %q: %w", name, err)
	}
	ctx, done, err := r.lease(ctx)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("pull %q: %w", name, err)
	}
	defer done()
	pulled, err := r.client.Pull(ctx, name, client.WithResolver(found), client.WithPullUnpack, client.WithPullLabels(accessLabels(access)),
		client.WithPullSnapshotter(snapshotter), client.WithImageHandler(images.HandlerFunc(checkDocument)), client.WithImageHandler(r.expected(runtime.PullProgressOf(ctx))))
	if err != nil {
		return runtime.Image{}, explain(name, auth, err)
	}
	if access != "" && !asked.Load() {
		access = ""
		if err := r.setFree(ctx, pulled.Metadata()); err != nil {
			return runtime.Image{}, fmt.Errorf("pull %q: %w", name, err)
		}
	}
	facts, err := r.facts(ctx, pulled.Metadata())
	if err != nil {
		return runtime.Image{}, err
	}
	return runtime.Image{Names: []string{name}, ID: facts.id, SizeBytes: facts.size, Access: access}, nil
}

// expected tells how large the layers are that are still to come.
func (r *Runtime) expected(progress runtime.PullProgress) images.HandlerFunc {
	return func(ctx context.Context, descriptor ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if progress == nil || !images.IsLayerType(descriptor.MediaType) {
			return nil, nil
		}
		if _, err := r.client.ContentStore().Info(ctx, descriptor.Digest); errdefs.IsNotFound(err) {
			progress.Expect(descriptor.Size)
		}
		return nil, nil
	}
}

func (r *Runtime) resolver(speaker *http.Client, credentials func(host string) (string, string, error)) remotes.Resolver {
	authorizer := docker.NewDockerAuthorizer(docker.WithAuthClient(tokenClient(speaker)), docker.WithAuthCreds(credentials))
	return docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(
		docker.WithAuthorizer(authorizer), docker.WithClient(speaker),
		docker.WithPlainHTTP(func(host string) (bool, error) { return slices.Contains(r.opts.InsecureRegistries, host), nil }),
	)})
}

// explain gives a registry's or the network's failure its class, and words that say what to do.
func explain(name string, auth runtime.RegistryAuth, err error) error {
	host, status := hostOf(name), 0
	if unexpected, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		status = unexpected.StatusCode
	}
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errdefs.IsUnauthorized(err), errors.Is(err, docker.ErrInvalidAuthorization), status == http.StatusUnauthorized:
		return fmt.Errorf("pull %q: registry %s %s: %w: %w", name, host, credentials(auth), errdefs.ErrUnauthenticated, err)
	case errdefs.IsPermissionDenied(err), status == http.StatusForbidden:
		return fmt.Errorf("pull %q: registry %s does not let %s have it: %w: %w", name, host, who(auth), errdefs.ErrPermissionDenied, err)
	case errdefs.IsNotFound(native(err)), status == http.StatusNotFound:
		return fmt.Errorf("pull %q: registry %s has no such image, or none for this machine's platform: %w: %w",
			name, host, errdefs.ErrNotFound, err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no error of its own for it
		return fmt.Errorf("pull %q: registry %s speaks HTTP without TLS, which an agent takes only where --insecure-registry names it: %w: %w", name, host, errdefs.ErrUnavailable, err)
	case errors.As(err, &network):
		return fmt.Errorf("pull %q: registry %s cannot be reached: %w: %w", name, host, errdefs.ErrUnavailable, err)
	}
	return fmt.Errorf("pull %q: %w", name, native(err))
}

func hostOf(name string) string {
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		return reference.Domain(named)
	}
	return name
}

func credentials(auth runtime.RegistryAuth) string {
	if auth.Username == "" {
		return "wants a login, and no imagePullSecret fits it"
	}
	return fmt.Sprintf("refuses the password of user %q in the imagePullSecret", auth.Username)
}

func who(auth runtime.RegistryAuth) string {
	if auth.Username == "" {
		return "nobody without a login"
	}
	return fmt.Sprintf("user %q", auth.Username)
}

package containerd

import (
	"context"
	"crypto/rand"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"miniplane.dev/miniplane/nodeagent/imageaccess"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// labelAccess of an image says who may run it; see package imageaccess. containerd changes the labels of a name together with what it
// stands for, and the image that somebody imports has none.
const labelAccess = labelPrefix + "access"

// resolved is a resolver that was asked already.
type resolved struct {
	remotes.Resolver
	name   string
	target ocispec.Descriptor
}

// Resolve implements remotes.Resolver.
func (r resolved) Resolve(context.Context, string) (string, ocispec.Descriptor, error) {
	return r.name, r.target, nil
}

// accessAfter says who may run the image when the registry has given it for a credential.
func (r *Runtime) accessAfter(ctx context.Context, name string, target digest.Digest, auth runtime.RegistryAuth) (string, error) {
	pull := imageaccess.Pull{Auth: auth, Salt: make([]byte, imageaccess.SaltBytes)}
	_, _ = rand.Read(pull.Salt) // it never fails
	before, err := r.client.ImageService().Get(ctx, name)
	if err = native(err); err != nil && !errdefs.IsNotFound(err) {
		return "", err
	}
	if pull.Same = err == nil && before.Target.Digest == target; pull.Same {
		pull.Before = imageaccess.Parse(before.Labels[labelAccess])
	}
	return imageaccess.After(pull).String(), nil
}

func accessLabels(access string) map[string]string {
	if access == "" {
		return nil
	}
	return map[string]string{labelAccess: access}
}

// setFree lets everybody run an image, if the name still stands for it.
func (r *Runtime) setFree(ctx context.Context, pulled images.Image) error {
	now, err := r.client.ImageService().Get(ctx, pulled.Name)
	if err != nil || now.Target.Digest != pulled.Target.Digest {
		return ignore(native(err))
	}
	delete(now.Labels, labelAccess)
	_, err = r.client.ImageService().Update(ctx, now, "labels")
	return ignore(native(err))
}

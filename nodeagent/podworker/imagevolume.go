package podworker

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/imageaccess"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// imageSource has the image of a volume at hand, and gives what mounts it.
type imageSource func(ctx context.Context, v *miniv1.Volume) (fill func(ctx context.Context, dir string) error, err error)

func hasImages(pod *miniv1.MiniPod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v miniv1.Volume) bool { return v.Image != nil })
}

// imagesOf has images of volumes as those of containers are had: by the same policies, pulls and credentials. One that is mounted is not looked for again, whatever its
// name stands for by now.
func (w *worker) imagesOf(desired *miniv1.MiniPod) imageSource {
	return func(_ context.Context, v *miniv1.Volume) (func(context.Context, string) error, error) {
		if w.pool.Volumes.Made(desired.UID, v.Name) {
			return func(context.Context, string) error { return nil }, nil
		}
		image, err := w.volumeImage(desired, &miniv1.Container{Name: v.Name, Image: v.Image.Reference, ImagePullPolicy: v.Image.PullPolicy})
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, dir string) error {
			return w.pool.Runtime.MountImage(ctx, string(desired.UID), runtime.Image{Names: []string{v.Image.Reference}, ID: image.ID}, dir)
		}, nil
	}
}

// volumeImage is the image of a volume, found on the node or pulled.
func (w *worker) volumeImage(desired *miniv1.MiniPod, c *miniv1.Container) (runtime.Image, error) {
	policy := podplan.PullPolicy(c)
	if policy != corev1.PullAlways {
		image, err := w.pool.Runtime.Image(w.pullContext, c.Image)
		switch {
		case err == nil && imageaccess.Parse(image.Access).Free():
			return image, nil
		case err == nil:
			return w.claim(desired, c, podplan.Image{Ref: c.Image, State: podplan.ImageGuarded, ID: image.ID, Access: image.Access})
		case !errdefs.IsNotFound(err):
			return image, err
		case policy == corev1.PullNever:
			return image, fmt.Errorf("image %q is not on this node, and pullPolicy is Never: %w", c.Image, err)
		}
	}
	return w.pull(desired, c, w.pool.pullSecrets(w.pullContext, desired, c.Image))
}

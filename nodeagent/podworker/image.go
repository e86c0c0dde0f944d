package podworker

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/imageaccess"
	"miniplane.dev/miniplane/nodeagent/pulls"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// lookupImage finds out whether the image is present, and whether it is for everybody. It costs no more than that.
func (w *worker) lookupImage(ctx context.Context, desired *miniv1.MiniPod, a podplan.Action) (change, error) {
	c := podplan.ContainerNamed(desired, a.Container)
	next := w.observed.ImageOf(c)
	image, err := w.pool.Runtime.Image(ctx, c.Image)
	switch {
	case err == nil && (imageaccess.Parse(image.Access).Free() || w.observed.Has(c.Image, image.ID)):
		next = podplan.Image{Ref: c.Image, State: podplan.ImagePresent, ID: image.ID}
	case err == nil:
		next.State, next.ID, next.Access = podplan.ImageGuarded, image.ID, image.Access
	case errdefs.IsNotFound(err) && podplan.PullPolicy(c) != corev1.PullNever:
		next.State, next.Access = podplan.ImageMissing, ""
	default:
		next.Access = ""
		next = next.Failed(wordsOf(err), runtime.IsUnanswered(err), w.pool.Clock.Now())
	}
	return func(o *view) { o.Images[c.Name] = next }, nil
}

// startPull has an image pulled, as a job.
func (w *worker) startPull(desired *miniv1.MiniPod, a podplan.Action) change {
	c := podplan.ContainerNamed(desired, a.Container)
	next := w.observed.ImageOf(c)
	guarded := next
	next.State, next.Progress = podplan.ImagePulling, podplan.PullProgress{}
	return func(o *view) {
		o.Images[c.Name] = next
		w.beside(func() change {
			var image runtime.Image
			var err error
			if guarded.State == podplan.ImageGuarded {
				image, err = w.claim(desired, c, guarded)
			} else {
				image, err = w.pull(desired, c, w.pool.pullSecrets(w.pullContext, desired, c.Image))
			}
			return func(*view) { w.finishPull(c, image.ID, err) }
		})
	}
}

// pull asks the registry with what could be read of the MiniPod's Secrets; an error tells what could not.
func (w *worker) pull(desired *miniv1.MiniPod, c *miniv1.Container, with credentials) (runtime.Image, error) {
	image, err := w.pool.puller.Pull(w.pullContext, desired.Namespace, c.Image, with.auths, func(s pulls.Standing) { w.pullStands(c, s) })
	return image, with.explain(err)
}

// pullStands notes how a pull comes on.
func (w *worker) pullStands(c *miniv1.Container, s pulls.Standing) {
	w.tell(func(in *inbox) {
		in.ended = append(in.ended, func(o *view) {
			if image := o.Images[c.Name]; o.Pulling(c.Name, c.Image) {
				image.Progress = podplan.PullProgress{For: s.For, HasTurn: s.HasTurn, Bytes: s.Bytes, Size: s.Size}
				o.Images[c.Name] = image
			}
		})
	})
}

// claim shows that the MiniPod may run an image that is present: by a credential that the registry took before, or by having the registry
// give the image to it, which sends nothing that is there.
func (w *worker) claim(desired *miniv1.MiniPod, c *miniv1.Container, image podplan.Image) (runtime.Image, error) {
	with := w.pool.pullSecrets(w.pullContext, desired, c.Image)
	switch {
	case imageaccess.Parse(image.Access).Admits(imageaccess.Fitting(c.Image, with.auths)):
		countClaim(claimKnown)
		return runtime.Image{ID: image.ID}, nil
	case podplan.PullPolicy(c) == corev1.PullNever:
		countClaim(claimRefused)
		return runtime.Image{}, with.explain(fmt.Errorf("image %q is on this node, but it was pulled with a credential that this MiniPod does not have, "+
			"and imagePullPolicy Never keeps it from asking the registry; name a Secret with that credential in imagePullSecrets", c.Image))
	}
	got, err := w.pull(desired, c, with)
	if errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) {
		countClaim(claimRefused)
	}
	if err != nil {
		return got, fmt.Errorf("image %q is on this node, but it was pulled with a credential that this MiniPod does not have: %w", c.Image, err)
	}
	countClaim(claimPulled)
	return got, nil
}

// finishPull notes the end of a pull for a container, if that image is still wanted.
func (w *worker) finishPull(c *miniv1.Container, imageID string, err error) {
	switch images, now := w.observed.Images, w.pool.Clock.Now(); {
	case !w.observed.Pulling(c.Name, c.Image):
	case err == nil:
		images[c.Name] = podplan.Image{Ref: c.Image, State: podplan.ImagePresent, ID: imageID}
	case errors.Is(err, context.Canceled):
		delete(images, c.Name)
	default:
		w.pool.Log.Info("Cannot pull an image; trying again later", "image", c.Image, "pod", w.uid, "err", wordsOf(err))
		images[c.Name] = images[c.Name].Failed(wordsOf(err), false, now) // that a registry does not answer counts too
	}
}

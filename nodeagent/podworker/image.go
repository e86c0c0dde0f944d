package podworker

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// lookupImage finds out whether the image is present.
func (w *worker) lookupImage(ctx context.Context, desired *miniv1.MiniPod, a Action) (change, error) {
	c := containerNamed(desired, a.Container)
	next := w.observed.imageOf(c)
	image, err := w.pool.Runtime.Image(ctx, c.Image)
	switch {
	case err == nil:
		next = Image{Ref: c.Image, State: ImagePresent, ID: image.ID}
	case errdefs.IsNotFound(err) && pullPolicy(c) != corev1.PullNever:
		next.State = ImageMissing
	default:
		next = w.failedImage(next, err)
	}
	return func(o *Observation) { o.Images[c.Name] = next }, nil
}

// startPull pulls an image beside the worker, which goes on meanwhile and hears of the end in its inbox.
func (w *worker) startPull(desired *miniv1.MiniPod, a Action) change {
	c := containerNamed(desired, a.Container)
	next := w.observed.imageOf(c)
	next.State = ImagePulling
	return func(o *Observation) {
		o.Images[c.Name] = next
		go func() {
			image, err := w.pool.puller.Pull(w.pullContext, desired.Namespace, c.Image, w.pool.pullSecrets(w.pullContext, desired))
			end := pulled{container: c.Name, ref: c.Image, image: image, err: err, at: w.pool.Clock.Now()}
			w.tell(func(in *inbox) { in.pulled = append(in.pulled, end) })
		}()
	}
}

// finishPull notes the end of a pull, if that image is still wanted.
func (w *worker) finishPull(p pulled) {
	image, wanted := w.observed.Images[p.container]
	failures := image.Failures
	switch {
	case !wanted || image.Ref != p.ref || image.State != ImagePulling:
	case p.err == nil:
		w.observed.Images[p.container] = Image{Ref: p.ref, State: ImagePresent, ID: p.image.ID}
	case errors.Is(p.err, context.Canceled):
		delete(w.observed.Images, p.container)
	default:
		w.pool.Log.Info("Cannot pull an image; trying again later", "image", p.ref, "pod", w.uid, "err", wordsOf(p.err))
		image = w.failedImage(image, p.err)
		image.Failures = max(image.Failures, failures+1) // that a registry does not answer counts too
		w.observed.Images[p.container] = image
	}
}

// failedImage counts a failure to get an image; that the runtime does not answer is not one.
func (w *worker) failedImage(image Image, err error) Image {
	image.State, image.FailedAt, image.Message = ImageFailed, w.pool.Clock.Now(), wordsOf(err)
	if !runtime.IsUnanswered(err) {
		image.Failures++
	}
	return image
}

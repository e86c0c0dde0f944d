package podworker

import (
	"context"
	"errors"
	"sync"

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
			image, err := w.pool.puller.pull(w.pullContext, c.Image, w.pool.pullSecrets(w.pullContext, desired))
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
		w.pool.Log.Info("Cannot pull an image; trying again later", "image", p.ref, "pod", w.uid, "err", p.err.Error())
		image = w.failedImage(image, p.err)
		image.Failures = max(image.Failures, failures+1) // that a registry does not answer counts too
		w.observed.Images[p.container] = image
	}
}

// failedImage counts a failure to get an image; that the runtime does not answer is not one.
func (w *worker) failedImage(image Image, err error) Image {
	image.State, image.FailedAt, image.Message = ImageFailed, w.pool.Clock.Now(), err.Error()
	if !unanswered(err) {
		image.Failures++
	}
	return image
}

// puller lets those who want the same image with the same credentials share one pull.
type puller struct {
	runtime runtime.Runtime
	slots   chan struct{} // pulls at a time

	mu    sync.Mutex
	calls map[string]*pullCall
}

type pullCall struct {
	waiters int
	cancel  context.CancelFunc
	done    chan struct{}
	image   runtime.Image
	err     error
}

// maxPulls is how many images are pulled at a time.
const maxPulls = 4

func newPuller(rt runtime.Runtime) *puller {
	return &puller{runtime: rt, slots: make(chan struct{}, maxPulls), calls: map[string]*pullCall{}}
}

// pull waits for the image, or for the context. The pull itself ends when nobody waits for it any more.
func (p *puller) pull(ctx context.Context, ref string, auths []runtime.RegistryAuth) (runtime.Image, error) {
	key := pullKey(ref, auths)
	p.mu.Lock()
	call, shared := p.calls[key]
	if !shared {
		callCtx, cancel := context.WithCancel(context.Background())
		call = &pullCall{cancel: cancel, done: make(chan struct{})}
		p.calls[key] = call
		go p.do(callCtx, key, call, ref, auths)
	}
	call.waiters++
	p.mu.Unlock()
	select {
	case <-call.done:
		return call.image, call.err
	case <-ctx.Done():
		p.leave(key, call)
		return runtime.Image{}, ctx.Err()
	}
}

func (p *puller) leave(key string, call *pullCall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if call.waiters--; call.waiters == 0 {
		call.cancel()
		if p.calls[key] == call {
			delete(p.calls, key)
		}
	}
}

func (p *puller) do(ctx context.Context, key string, call *pullCall, ref string, auths []runtime.RegistryAuth) {
	defer call.cancel()
	select {
	case p.slots <- struct{}{}:
		call.image, call.err = p.runtime.PullImage(ctx, ref, auths)
		<-p.slots
	case <-ctx.Done():
		call.err = ctx.Err()
	}
	p.mu.Lock()
	if p.calls[key] == call {
		delete(p.calls, key)
	}
	p.mu.Unlock()
	close(call.done)
}

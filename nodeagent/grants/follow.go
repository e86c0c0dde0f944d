package grants

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/jitter"
)

const (
	// watchAgain is the wait before a watch that came to its end is opened again, as all do now and then; doubled up to watchLater where it
	// fails, because the right to it has not come.
	watchAgain = time.Second
	watchLater = time.Minute
	// watchFor is how long one watch lasts, so that a token that is not taken any more is not used for ever.
	watchFor = 30 * time.Minute
	// tellEvery and tellAtOnce bound how often is told of an object that changes all the time; as often as volumes are made anew.
	tellEvery  = time.Second
	tellAtOnce = 5
)

var watched = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "miniplane_agent_followed_objects",
	Help: "Secrets and ConfigMaps whose changes are heard of, because MiniPods have them in volumes or wait for them.",
})

func init() { metrics.Registry.MustRegister(watched) }

// object that MiniPods follow.
type object struct {
	grants.Reference
	namespace string
}

// follows are the objects that somebody follows: each is watched once, however many do.
type follows struct {
	mu sync.Mutex
	of map[object]*follow
}

// follow is one of them.
type follow struct {
	stop    context.CancelFunc
	tell    map[int]func(version string)
	next    int
	known   bool
	version string // when known; empty if it is gone
}

// Follow implements the workers' Follower: tell hears of the version that the object has, as soon as it is known and each time
// that it changes. One watch serves all who follow an object; the last that stops ends it. Of the object only its metadata come.
func (r *Reader) Follow(ref grants.Reference, namespace string, tell func(version string)) (stop func()) {
	key := object{Reference: grants.Reference{Resource: ref.Resource, Name: ref.Name}, namespace: namespace}
	r.follows.mu.Lock()
	defer r.follows.mu.Unlock()
	f := r.follows.of[key]
	if f == nil {
		ctx, cancel := context.WithCancel(context.Background())
		f = &follow{stop: cancel, tell: map[int]func(string){}}
		if r.follows.of == nil {
			r.follows.of = map[object]*follow{}
		}
		r.follows.of[key] = f
		watched.Inc()
		go r.watch(ctx, key, f)
	}
	id := f.next
	f.next++
	f.tell[id] = tell
	if f.known {
		go tell(f.version) // not in the caller's arms: it may hold what tell takes
	}
	return func() { r.unfollow(key, f, id) }
}

func (r *Reader) unfollow(key object, f *follow, id int) {
	r.follows.mu.Lock()
	defer r.follows.mu.Unlock()
	delete(f.tell, id)
	if len(f.tell) == 0 && r.follows.of[key] == f {
		f.stop()
		delete(r.follows.of, key)
		watched.Dec()
	}
}

// heard tells all who follow an object of its version, if it is another one.
func (r *Reader) heard(f *follow, version string) {
	r.follows.mu.Lock()
	defer r.follows.mu.Unlock()
	if f.known && f.version == version {
		return
	}
	f.known, f.version = true, version
	for _, tell := range f.tell {
		tell(version)
	}
}

// watch keeps a watch open until nobody follows the object any more.
func (r *Reader) watch(ctx context.Context, key object, f *follow) {
	for wait := watchAgain; ctx.Err() == nil; {
		err := r.watchOnce(ctx, key, f)
		if wait = min(2*wait, watchLater); err == nil {
			wait = watchAgain
		} else if ctx.Err() == nil {
			r.log.V(1).Info("Cannot watch what a MiniPod uses; trying again", "object", key.namespace+"/"+key.Name, "err", err.Error())
		}
		timer := time.NewTimer(jitter.Up(wait))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// watchOnce hears until the watch ends; an error says that it did not begin. It begins with the object as it is.
func (r *Reader) watchOnce(ctx context.Context, key object, f *follow) error {
	if err := r.turns.wait(ctx, key.namespace); err != nil {
		return err
	}
	token, err := r.tokens.get(ctx)
	if err != nil {
		return err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.APIVersion, list.Kind = "v1", map[string]string{grants.ConfigMaps: "ConfigMapList", grants.Secrets: "SecretList"}[key.Resource]
	seconds := int64(jitter.Up(watchFor) / time.Second)
	events, err := r.next.Watch(withToken(ctx, token), list, &client.ListOptions{Namespace: key.namespace,
		FieldSelector: fields.OneTermEqualSelector("metadata.name", key.Name), Raw: &metav1.ListOptions{TimeoutSeconds: &seconds}})
	if apierrors.IsUnauthorized(err) {
		r.tokens.forget(token)
	}
	if err != nil {
		return err
	}
	defer events.Stop()
	return r.hear(events.ResultChan(), f)
}

// hear tells all who follow an object what a watch of it tells: some changes at once, and of more the last one once in a time. Each wakes every MiniPod that uses the object, and
// who may write it can write it all the time.
func (r *Reader) hear(events <-chan watch.Event, f *follow) error {
	pace := flowcontrol.NewTokenBucketRateLimiter(float32(time.Second)/float32(tellEvery), tellAtOnce)
	var late string
	var alarm <-chan time.Time // when that is told; nil if there is nothing to tell
	tell := func(version string) {
		switch {
		case alarm == nil && pace.TryAccept():
			r.heard(f, version)
			return
		case alarm == nil:
			alarm = time.After(tellEvery)
		}
		late = version
	}
	for {
		select {
		case <-alarm:
			alarm = nil
			_ = pace.TryAccept() // its turn has come
			r.heard(f, late)
		case event, open := <-events:
			if !open {
				if alarm != nil {
					r.heard(f, late)
				}
				return nil
			}
			now, err := meta.Accessor(event.Object)
			switch {
			case event.Type == watch.Error:
				return apierrors.FromObject(event.Object)
			case err != nil || event.Type == watch.Bookmark:
			case event.Type == watch.Deleted:
				tell("")
			default:
				tell(now.GetResourceVersion())
			}
		}
	}
}

package scheduling

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

const (
	// listPage is how many MiniPods are asked for at once.
	listPage = 1000
	// lookEvery is how often the cache is looked at until it has caught up.
	lookEvery = 20 * time.Millisecond
	// askAfter is when the API server is asked again for a MiniPod that does not turn up.
	askAfter = time.Second
)

// catchUp returns when the cache shows every binding that there was when this process became the leader. Without that, room
// and quota that the last leader gave away would be given away again.
func (s *Scheduler) catchUp(ctx context.Context) error {
	if !toolscache.WaitFor(ctx, "", s.fed...) {
		return errors.New("the informers did not sync before the end")
	}
	missing, err := s.boundLive(ctx)
	for ; err != nil; missing, err = s.boundLive(ctx) {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list what is bound; nothing is scheduled until then")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askAfter):
		}
	}
	for waited := time.Duration(0); ; waited += lookEvery {
		for uid, key := range missing {
			if s.holds(uid) || waited > askAfter && s.released(ctx, uid, key) {
				delete(missing, uid)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookEvery):
		}
	}
}

// boundLive lists from the API server, past the cache, who holds room.
func (s *Scheduler) boundLive(ctx context.Context) (map[types.UID]client.ObjectKey, error) {
	out := map[types.UID]client.ObjectKey{}
	for next := ""; ; {
		list := &miniv1.MiniPodList{} // a new one for each page: decoding into the last one keeps what the new page leaves out
		if err := s.live.List(ctx, list, client.Limit(listPage), client.Continue(next)); err != nil {
			return nil, err
		}
		for i := range list.Items {
			if pod := &list.Items[i]; podstate.HoldsRoom(pod) && !s.holds(pod.UID) {
				out[pod.UID] = client.ObjectKeyFromObject(pod)
			}
		}
		if next = list.Continue; next == "" {
			return out, nil
		}
	}
}

// released asks the API server whether a MiniPod that held room does so no more.
func (s *Scheduler) released(ctx context.Context, uid types.UID, key client.ObjectKey) bool {
	pod := &miniv1.MiniPod{}
	err := s.live.Get(ctx, key, pod)
	if err != nil && !apierrors.IsNotFound(err) {
		ctrl.LoggerFrom(ctx).Info("cannot ask for a MiniPod", "minipod", key, "error", err.Error())
		return false
	}
	return err != nil || pod.UID != uid || !podstate.HoldsRoom(pod)
}

package nodeagent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// counted are processes in memory.
type counted struct {
	mu     sync.Mutex
	byPod  map[types.UID]int64
	killed []types.UID
	looks  int
	most   int64
}

func (c *counted) Count() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum int64
	for _, n := range c.byPod {
		sum += n
	}
	return sum, nil
}

func (c *counted) ByPod() map[types.UID]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	return maps.Clone(c.byPod)
}

func (c *counted) Limit(most int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.most = most
	return errors.New("in use")
}

// limited is the limit that was set since the last call; 0 for none.
func (c *counted) limited() (most int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	most, c.most = c.most, 0
	return most
}

func (c *counted) Kill(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed, c.byPod[uid] = append(c.killed, uid), 1
}

func (c *counted) set(uid types.UID, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byPod[uid] = n
}

// listing is a cache with these MiniPods.
type listing struct {
	cache.Cache
	pods []miniv1.MiniPod
}

func (l listing) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*miniv1.MiniPodList).Items = l.pods
	return nil
}

// One gives way after another, who took the most first, until there is room; then nobody any more. Who has always had many stays. While
// there is room, what each MiniPod has is looked at once a minute.
func TestRelieve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there := &counted{byPod: map[types.UID]int64{"calm": 20, "many": 345}}
		told := events.NewFakeRecorder(10)
		bomb := miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Name: "a bomb", UID: "bomb-2"}}
		a := &agent{log: logr.Discard(), host: host{pids: 4000}, machine: &Machine{Processes: there}, recorder: told, cache: listing{pods: []miniv1.MiniPod{bomb}}}
		a.opts.PIDs = 1000
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.relieve(ctx)
		time.Sleep(calmEvery - time.Second)
		synctest.Wait()
		if there.looks != 1 {
			t.Errorf("within a minute of calm, each MiniPod is looked at %d times", there.looks)
		}
		there.set("bomb-1", 290)
		there.set("bomb-2", 310)
		time.Sleep(10 * relieveEvery)
		there.set("bomb-1", 610)
		time.Sleep(10 * relieveEvery)
		cancel()
		synctest.Wait()
		if want := []types.UID{"bomb-2", "bomb-1"}; !slices.Equal(there.killed, want) {
			t.Errorf("gave way: %v, want %v", there.killed, want)
		}
		if event := <-told.Events; !strings.HasPrefix(event, "Warning InsufficientPIDs its 310 processes") {
			t.Error(event)
		}
	})
}

// MiniPods that are there are bounded once the agent has settled, and again after a failure.
func TestLimitPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there := &counted{}
		a := &agent{log: logr.Discard(), machine: &Machine{Processes: there}, opts: Options{PodMaxPIDs: 123, Resync: time.Minute}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.limitPods(ctx)
		for _, wait := range []time.Duration{settled, a.opts.Resync} {
			time.Sleep(wait)
			synctest.Wait()
			if most := there.limited(); most != 123 {
				t.Errorf("after %s more MiniPods have %d", wait, most)
			}
		}
	})
}

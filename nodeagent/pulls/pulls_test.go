package pulls_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"miniplane.dev/miniplane/nodeagent/pulls"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/testenv"
)

// registries is a runtime that only pulls: what is evil moves for ever, everything else is there at once.
type registries struct {
	runtime.Runtime
	evil  map[string]bool
	begun chan string
}

// PullImage implements runtime.Runtime.
func (r *registries) PullImage(ctx context.Context, ref string, _ []runtime.RegistryAuth) (runtime.Image, error) {
	runtime.PullProgressOf(ctx).Expect(100)
	runtime.PullProgressOf(ctx).Bytes(40)
	r.begun <- ref
	if r.evil[ref] {
		<-ctx.Done()
		return runtime.Image{}, ctx.Err()
	}
	return runtime.Image{ID: ref}, nil
}

func untold(pulls.Standing) {}

// patience is as short as a test likes it.
const patience = 20 * time.Millisecond

// besieged is a coordinator all of whose places one namespace has, for ever, and which has more wishes.
func besieged(t *testing.T, more ...string) *pulls.Coordinator {
	t.Helper()
	r := &registries{evil: map[string]bool{}, begun: make(chan string, 100)}
	c := pulls.New(pulls.Options{Runtime: r, Parallel: 4, Silence: time.Hour, Deadline: time.Hour, Patience: patience})
	ctx, cancel := context.WithCancel(context.Background())
	wish := func(ref string) {
		go func() {
			if _, err := c.Pull(ctx, "evil", ref, nil, untold); r.evil[ref] && !errors.Is(err, context.Canceled) {
				t.Errorf("%s of the evil one: %v", ref, err)
			}
		}()
	}
	t.Cleanup(func() {
		cancel()
		for _, under := c.Waiting(); under > 0; _, under = c.Waiting() {
			<-time.After(time.Millisecond)
		}
	})
	for i := range 4 {
		ref := fmt.Sprintf("evil:%d", i)
		r.evil[ref] = true
	}
	for ref := range r.evil {
		wish(ref)
	}
	for range 4 {
		<-r.begun
	}
	for i, ref := range more {
		wish(ref)
		for waiters, _ := c.Waiting(); waiters < 5+i; waiters, _ = c.Waiting() {
			<-time.After(time.Millisecond)
		}
	}
	return c
}

// A namespace whose registries send a byte now and then, for ever, keeps nobody else from pulling.
func TestNobodyKeepsAllPlaces(t *testing.T) {
	c := besieged(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if image, err := c.Pull(ctx, "good", "good:1", nil, untold); err != nil || image.ID != "good:1" {
		t.Errorf("%+v, %v", image, err)
	}
}

// What a namespace wants that has its share already, others get all the same when they want it too.
func TestNobodyWaitsBehindAnothersShare(t *testing.T) {
	c := besieged(t, "good:1")
	if _, under := c.Waiting(); under != 5 {
		t.Fatalf("%d pulls: the evil one has more than its share", under)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if image, err := c.Pull(ctx, "good", "good:1", nil, untold); err != nil || image.ID != "good:1" {
		t.Errorf("%+v, %v", image, err)
	}
}

// Pulls are counted by how they ended: one that nobody waits for any more has not failed.
func TestPullsAreCounted(t *testing.T) {
	r := &registries{evil: map[string]bool{"slow": true}, begun: make(chan string, 10)}
	c, results := pulls.New(pulls.Options{Runtime: r}), []string{"success", "canceled", "failure"}
	counted := func() (out [3]float64) {
		for i, result := range results {
			out[i] = testenv.Counted(t, "miniplane_agent_image_pulls_total", result)
		}
		return out
	}
	before := counted()
	if _, err := c.Pull(t.Context(), "ns", "fast", nil, untold); err != nil {
		t.Fatal(err)
	}
	<-r.begun
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-r.begun; cancel() }()
	if _, err := c.Pull(ctx, "ns", "slow", nil, untold); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, under := c.Waiting(); under > 0; _, under = c.Waiting() {
		<-time.After(time.Millisecond)
	}
	after := counted()
	for i, want := range []float64{1, 1, 0} {
		if got := after[i] - before[i]; got != want {
			t.Errorf("%v pulls ended with %s, want %v", got, results[i], want)
		}
	}
}

// Who waits is told how the pull stands, ever less often; and that a pull waits for others.
func TestThoseWhoWaitAreTold(t *testing.T) {
	r := &registries{evil: map[string]bool{"slow": true}, begun: make(chan string, 10)}
	c := pulls.New(pulls.Options{Runtime: r, Parallel: 1, Silence: time.Hour, Deadline: time.Hour, Patience: time.Hour, Telling: 10 * time.Millisecond})
	told := func(ref string) (out []pulls.Standing) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := c.Pull(ctx, "ns", ref, nil, func(s pulls.Standing) {
			if out = append(out, s); len(out) == 3 {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		return out
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.Pull(ctx, "ns", "slow", nil, untold)
	}()
	<-r.begun
	for ref, want := range map[string]pulls.Standing{"slow": {HasTurn: true, Bytes: 40, Size: 100}, "next": {}} {
		var before time.Duration
		for _, got := range told(ref) {
			if got.For < max(10*time.Millisecond, 2*before) {
				t.Errorf("%s: told after %s, and after %s before", ref, got.For, before)
			}
			if before, got.For = got.For, 0; got != want {
				t.Errorf("%s: %+v, want %+v", ref, got, want)
			}
		}
	}
	cancel()
	<-ended
}

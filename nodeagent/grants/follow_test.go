package grants

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/internal/grants"
)

// Watch implements client.WithWatch: with a right, of an object in version 1.
func (c asNode) Watch(_ context.Context, _ client.ObjectList, _ ...client.ListOption) (watch.Interface, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.watches = append(c.s.watches, nil)
	if time.Now().Before(c.s.grantAt) {
		return nil, denied()
	}
	w := watch.NewFakeWithChanSize(10, false)
	w.Add(version("1"))
	c.s.watches[len(c.s.watches)-1] = w
	return w, nil
}

func version(v string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "c", ResourceVersion: v}}
}

// Many who follow an object have one watch, hear of its version once each, also those who come later; and the last that stops ends it.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{grantAt: time.Now().Add(5 * time.Second)}
		r := newReader(s)
		ref := grants.Reference{Resource: grants.ConfigMaps, Name: "c", Watch: true}
		heard := make([]chan string, 3)
		stops := make([]func(), 3)
		follow := func(i int) {
			heard[i] = make(chan string, 10)
			stops[i] = r.Follow(ref, "ns", func(v string) { heard[i] <- v })
		}
		wants := func(i int, want string) {
			t.Helper()
			if got := <-heard[i]; got != want {
				t.Errorf("%d hears of version %q, want %q", i, got, want)
			}
		}
		follow(0)
		follow(1)
		wants(0, "1")
		wants(1, "1")
		if n := len(s.watches); n < 2 || n > 6 {
			t.Errorf("%d tries for a right that came after 5 seconds", n)
		}
		follow(2)
		wants(2, "1")
		w := s.watches[len(s.watches)-1]
		w.Modify(version("1")) // nothing new
		w.Modify(version("2"))
		w.Delete(version("3"))
		for i := range heard {
			wants(i, "2")
			wants(i, "")
		}
		tries := len(s.watches)
		for _, stop := range stops {
			stop()
		}
		w.Stop()
		time.Sleep(time.Hour) // in a synctest bubble
		if len(s.watches) != tries || len(r.follows.of) != 0 {
			t.Errorf("it is watched for nobody: %d tries more, %d objects", len(s.watches)-tries, len(r.follows.of))
		}
	})
}

// An object that changes all the time is told of now and then, and the last change soon.
func TestFollowWhatChangesAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		r := newReader(s)
		var last string
		told := 0
		stop := r.Follow(grants.Reference{Resource: grants.ConfigMaps, Name: "c", Watch: true}, "ns", func(v string) { last, told = v, told+1 })
		synctest.Wait()
		w := s.watches[0]
		for i := range 10_000 { // in 10 seconds
			w.Modify(version(fmt.Sprint(2 + i)))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(tellEvery)
		synctest.Wait()
		if last != "10001" || told > 2*tellAtOnce+10 {
			t.Errorf("told %d times, of version %s at last", told, last)
		}
		stop()
		w.Stop()
	})
}

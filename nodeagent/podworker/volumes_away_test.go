package podworker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
)

// faulty reads, or does not, and counts.
type faulty struct {
	Reader
	mu    sync.Mutex
	gets  int
	fails error
}

func (f *faulty) Get(ctx context.Context, key types.NamespacedName, object client.Object) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets++
	if f.fails != nil {
		return f.fails
	}
	return f.Reader.Get(ctx, key, object)
}

func (f *faulty) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets, f.fails = 0, err
}

func (f *faulty) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gets
}

// mountsToken gives a MiniPod what a native Pod has by itself: a token and a ConfigMap in one directory.
func mountsToken(p *miniv1.MiniPod) {
	p.Spec.Volumes = []miniv1.Volume{{Name: "access", Projected: &miniv1.ProjectedVolumeSource{Sources: []miniv1.VolumeProjection{
		{ServiceAccountToken: &miniv1.ServiceAccountTokenProjection{Path: "token"}},
		{ConfigMap: &miniv1.ConfigMapProjection{Name: "settings"}}}}}}
}

// While the API server is away, what changed before is asked for after the usual waits, and not over and over.
func TestVolumesWhileTheAPIIsAway(t *testing.T) {
	told := &changes{}
	b := newBench(t, func(b *bench) { b.changes = told })
	reader := &faulty{Reader: b.pool.Uses}
	b.pool.Uses = reader
	b.create("a", mountsSettings)
	b.put(told, map[string]string{"colour": "blue"})
	pod := b.shows("a", "Running")
	reader.set(errors.New("connection refused"))
	b.put(told, map[string]string{"colour": "green"})
	b.until("it is asked for", func() bool { return reader.count() > 0 })
	b.create("b") // by the time that another one runs, there were many tries, or one
	b.until("another one runs", func() bool { return len(b.running()) == 2 })
	if got := reader.count(); got > 1 {
		t.Errorf("asked %d times in no time", got)
	}
	reader.set(nil)
	b.pass(time.Second)
	b.until("the change is there", func() bool { return b.fileOf(pod, "settings", "colour") == "green" })
}

// A token is good for its time, whatever else changes in its volume; and only what can be watched is followed.
func TestTokenIsKept(t *testing.T) {
	told := &changes{}
	b := newBench(t, func(b *bench) { b.changes = told })
	tokens := &accounts{Reader: b.pool.Uses}
	b.pool.Uses = tokens
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "settings"}, Data: map[string]string{"colour": "blue"}}
	if err := b.api.Create(context.Background(), settings); err != nil {
		t.Fatal(err)
	}
	b.create("a", mountsToken)
	pod := b.shows("a", "Running")
	b.put(told, map[string]string{"colour": "green"})
	b.until("the change is there", func() bool { return b.fileOf(pod, "access", "colour") == "green" })
	if got := b.fileOf(pod, "access", "token"); got != "default 1" {
		t.Errorf("the token is %q after a ConfigMap beside it changed", got)
	}
	if told.followed(grants.Reference{Resource: grants.Tokens, Name: "default"}) != nil {
		t.Error("a watch is asked for that there is none of")
	}
	b.pass(time.Hour)
	b.until("it is replaced in time", func() bool { return b.fileOf(pod, "access", "token") == "default 2" })
}

package podworker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/nodeagent/runtime/fake"
)

// changes tell the workers what the test says.
type changes struct {
	mu    sync.Mutex
	tells map[grants.Reference]func(string)
}

// Follow implements Follower.
func (c *changes) Follow(ref grants.Reference, _ string, tell func(string)) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tells == nil {
		c.tells = map[grants.Reference]func(string){}
	}
	c.tells[ref] = tell
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.tells, ref)
	}
}

func (c *changes) followed(ref grants.Reference) func(string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tells[ref]
}

// A container whose ConfigMap is missing says so, keeps nobody from deleting its MiniPod, and starts when the ConfigMap comes: at once, and
// not when the back-off is over, which this clock never comes to. Then nothing is followed any more.
func TestConfigMapThatComesLater(t *testing.T) {
	told := &changes{}
	b := newBench(t, func(b *bench) { b.changes = told })
	uses := func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].EnvFrom = []miniv1.EnvFromSource{{ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "settings"}}}
	}
	missing := func(name string) {
		t.Helper()
		b.create(name, uses)
		if says := waitingFor(b.shows(name, miniv1.ReasonCreateContainerConfig)); !strings.Contains(says, `configmap "settings" not found`) {
			t.Errorf("%s: %q", name, says)
		}
	}
	missing("deleted")
	b.delete("deleted")
	b.gone("deleted")
	missing("a")
	ref := grants.Reference{Resource: grants.ConfigMaps, Name: "settings", Watch: true}
	b.restart()
	b.until("the ConfigMap is followed", func() bool { return told.followed(ref) != nil })
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "settings"}, Data: map[string]string{"COLOUR": "blue"}}
	if err := b.api.Create(context.Background(), settings); err != nil {
		t.Fatal(err)
	}
	told.followed(ref)(settings.ResourceVersion)
	b.shows("a", "Running")
	if created := b.runtime.Calls(fake.OpCreate); len(created) != 1 {
		t.Errorf("%d containers were made", len(created))
	}
	if spec, _ := b.runtime.Spec(b.running()[0]); !slices.Contains(spec.Env, "COLOUR=blue") {
		t.Errorf("environment %v", spec.Env)
	}
	b.until("nothing is followed any more", func() bool { return told.followed(ref) == nil })
}

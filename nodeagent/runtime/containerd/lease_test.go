package containerd_test

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"miniplane.dev/miniplane/test/containerdenv"
)

// An agent that dies in the middle of a pull or a start leaves a lease that would hold what it made for a day. The next agent gives it
// back, and none of its own.
func TestLeasesOfEarlierAgents(t *testing.T) {
	n := newRuncNode(t)
	service, ctx := n.Client(t).LeasesService(), namespaces.WithNamespace(t.Context(), containerdenv.Namespace)
	lease := func(id string, more ...leases.Opt) {
		if _, err := service.Create(ctx, append(more, leases.WithID(id), leases.WithExpiration(24*time.Hour))...); err != nil {
			t.Fatal(err)
		}
	}
	lease("left", leases.WithLabel("miniplane.dev/agent", "true"))
	lease("import") // somebody else's, which is under way
	r := n.runtime(t)
	lease("mine", leases.WithLabel("miniplane.dev/agent", "true"))
	for range 2 {
		if err := r.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	held, err := service.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, l := range held {
		ids = append(ids, l.ID)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []string{"import", "mine"}) {
		t.Errorf("leases: %v, want that of the agent that runs, and that of another", ids)
	}
}

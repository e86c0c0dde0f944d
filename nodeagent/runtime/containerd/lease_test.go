package containerd_test

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/test/containerdenv"
)

// An agent that dies in the middle of a pull or a start leaves a lease that would hold what it made for a day. The next agent gives it
// back, and none of its own.
func TestLeasesOfEarlierAgents(t *testing.T) {
	n := newRuncNode(t)
	service, ctx := n.Client(t).LeasesService(), namespaces.WithNamespace(t.Context(), containerdenv.Namespace)
	of := func(r *containerd.Runtime) string {
		held, _, err := containerd.Lease(r, t.Context())
		must(t, err)
		id, _ := leases.FromContext(held)
		return id
	}
	of(n.runtime(t)) // an agent that died with it
	_, err := service.Create(ctx, leases.WithID("import"), leases.WithExpiration(24*time.Hour))
	must(t, err) // somebody else's, which is under way
	r := n.runtime(t)
	mine := of(r)
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
	want := slices.Sorted(slices.Values([]string{"import", mine}))
	if !slices.Equal(ids, want) {
		t.Errorf("leases: %v, want that of the agent that runs, and that of another", ids)
	}
}

package containerd_test

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"miniplane.dev/miniplane/nodeagent/pulls"
	"miniplane.dev/miniplane/test/containerdenv"
	"miniplane.dev/miniplane/test/liar"
)

// TestLyingRegistry: whatever a registry says, a pull ends, says what it was, holds nobody else up and leaves nothing behind; and it works when the
// registry does.
func TestLyingRegistry(t *testing.T) {
	n := newNode(t)
	lying, err := liar.New(containerdenv.Busybox(t, v1.Config{}))
	must(t, err)
	server := httptest.NewServer(lying)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	n.opts.InsecureRegistries = []string{host}
	r := n.runtime(t)
	const deadline = 6 * time.Second
	coordinator := pulls.New(pulls.Options{Runtime: r, Deadline: deadline, Silence: 500 * time.Millisecond})
	pull := func(ctx context.Context, repository string) error {
		_, err := coordinator.Pull(ctx, repository, host+"/"+repository+":v1", nil, func(pulls.Standing) {})
		return err
	}
	before := inContainerd(t, n)

	lies, stop := context.WithTimeout(t.Context(), 4*deadline)
	defer stop()
	var group sync.WaitGroup
	for _, lie := range liar.Lies() {
		group.Go(func() {
			began := time.Now()
			err := pull(lies, lie.Repository)
			took := time.Since(began)
			switch {
			case err == nil:
				t.Errorf("%s: it was taken for good", lie.Repository)
			case lie.Slow:
				if lies.Err() == nil {
					t.Errorf("%s: what comes, however slowly, was given up after %s: %v", lie.Repository, took, err)
				}
			case !strings.Contains(err.Error(), lie.Words):
				t.Errorf("%s: people are told %q, which has no %q", lie.Repository, err, lie.Words)
			case took > deadline+5*time.Second:
				t.Errorf("%s: given up after %s", lie.Repository, took)
			}
			t.Logf("%s after %s: %v", lie.Repository, took.Round(time.Millisecond), err)
		})
	}
	honest, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := pull(honest, liar.Honest); err != nil {
		t.Errorf("another one's pull: %v", err)
	}
	group.Wait()
	// The one that nobody waited for any more ends in its own time.
	left := func() []string {
		return slices.DeleteFunc(inContainerd(t, n), func(thing string) bool { return slices.Contains(before, thing) })
	}
	until(t, "nothing left behind", func() bool { return len(left()) == 0 })

	lying.Heal()
	for _, lie := range liar.Lies() {
		if err := pull(t.Context(), lie.Repository); err != nil {
			t.Errorf("%s, when it was healed: %v", lie.Repository, err)
		}
	}
	server.CloseClientConnections()
}

// inContainerd are the things of pulls that nothing may be left of: leases, what was written of files, and snapshots that are being made.
func inContainerd(t *testing.T, n *node) (out []string) {
	t.Helper()
	c := n.Client(t)
	defer c.Close()
	held, err := c.LeasesService().List(t.Context())
	must(t, err)
	for _, lease := range held {
		out = append(out, "lease "+lease.ID)
	}
	statuses, err := c.ContentStore().ListStatuses(t.Context())
	must(t, err)
	for _, status := range statuses {
		out = append(out, "ingest "+status.Ref)
	}
	must(t, c.SnapshotService("overlayfs").Walk(t.Context(), func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted {
			out = append(out, "snapshot "+info.Name)
		}
		return nil
	}))
	return out
}

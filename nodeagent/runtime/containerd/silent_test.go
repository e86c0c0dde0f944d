package containerd_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"miniplane.dev/miniplane/nodeagent/pulls"
	"miniplane.dev/miniplane/test/containerdenv"
)

// TestSilentRegistries: those that take a connection and never answer hold nobody else up, and are given up.
func TestSilentRegistries(t *testing.T) {
	n := newNode(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	open := newRegistry(t, containerdenv.Busybox(t, v1.Config{}), "app:1")
	n.opts.InsecureRegistries = []string{silent.Addr().String(), open.host}
	r := n.runtime(t)
	const deadline = 8 * time.Second
	coordinator := pulls.New(pulls.Options{Runtime: r, Deadline: deadline, Silence: 500 * time.Millisecond})
	var group sync.WaitGroup
	start := time.Now()
	for _, image := range []string{"/a:1", "/b:1", "/c:1", "/d:1"} {
		group.Go(func() {
			_, err := coordinator.Pull(t.Context(), "loud", silent.Addr().String()+image, nil, func(pulls.Standing) {})
			if err == nil || !strings.Contains(err.Error(), "nothing came from the registry") {
				t.Errorf("%s: %v", image, err)
			}
		})
	}
	until(t, "the silent pulls", func() bool { _, under := coordinator.Waiting(); return under == 4 })
	ctx, cancel := context.WithTimeout(t.Context(), deadline-time.Second)
	defer cancel()
	if _, err := coordinator.Pull(ctx, "quiet", open.host+"/app:1", nil, func(pulls.Standing) {}); err != nil {
		t.Errorf("another tenant's pull: %v after %v", err, time.Since(start))
	}
	group.Wait()
	if took := time.Since(start); took < deadline {
		t.Errorf("given up after %v", took)
	}
}

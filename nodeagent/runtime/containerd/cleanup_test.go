package containerd_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// held is what containerd keeps of the namespace: images, blobs and layers.
func (n *node) held(t *testing.T) (out []string) {
	t.Helper()
	c := n.Client(t)
	ctx := namespaces.WithNamespace(t.Context(), "miniplane")
	images, err := c.ImageService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range images {
		out = append(out, "image "+image.Name)
	}
	err = errors.Join(
		c.ContentStore().Walk(ctx, func(info content.Info) error {
			out = append(out, "blob "+info.Digest.String())
			return nil
		}),
		c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			out = append(out, "layer "+info.Name)
			return nil
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Cleanup leaves neither images nor layers, nor the namespace; with a container it changes nothing that the container needs.
func TestCleanupRemovesImagesAndNamespace(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	id := "00000000-0000-0000-0000-00000000c1ea-c-0"
	spec := runtime.ContainerSpec{
		ID: id, Group: id[:36], Image: busybox, Command: shell("true"), CgroupPath: n.parent + "/pod" + id + "/" + id,
	}
	if err := r.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if len(n.held(t)) < 3 {
		t.Fatalf("an image should have a name, blobs and layers: %v", n.held(t))
	}
	for range 2 { // the second time there is nothing
		if err := r.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left := n.held(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	all, err := n.Client(t).NamespaceService().List(t.Context())
	if err != nil || slices.Contains(all, "miniplane") {
		t.Errorf("namespaces %v, %v", all, err)
	}
	if _, err := r.Image(t.Context(), busybox); !errdefs.IsNotFound(err) {
		t.Errorf("the image: %v", err)
	}
}

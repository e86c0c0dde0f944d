package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// imageFacts are what never changes about an image, whatever it is called.
type imageFacts struct {
	id      string // digest of the configuration
	chainID string // its top snapshot
	size    int64
	config  ocispec.ImageConfig
	// accounts are the users and groups that the image knows.
	accounts accounts
	// volumes that it wants for each container.
	volumes []imageVolume
	// read is about how many bytes all of this was read from, and takes.
	read int64
}

// imageCache remembers facts by the digest of the manifest, so that starting a container reads the image's name only. It holds at
// most maxImages, and maxFacts bytes; beyond it everything is read again.
type imageCache struct {
	mu       sync.Mutex
	byDigest map[string]*imageFacts
	held     int64
}

const maxImages = 1000

func (c *imageCache) get(digest string) *imageFacts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byDigest[digest]
}

func (c *imageCache) put(digest string, facts *imageFacts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byDigest) >= maxImages || c.held+facts.read > maxFacts {
		clear(c.byDigest)
		c.held = 0
	}
	c.byDigest[digest] = facts
	c.held += facts.read
}

// normalize gives a reference the form that containerd keeps: docker.io/library/nginx:latest for nginx.
func normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w: %w", ref, err, errdefs.ErrInvalidArgument)
	}
	return named.String(), nil
}

// Image implements runtime.Runtime.
func (r *Runtime) Image(ctx context.Context, ref string) (runtime.Image, error) {
	image, facts, err := r.lookup(ctx, ref)
	if err != nil {
		return runtime.Image{}, err
	}
	return runtime.Image{Names: []string{image.Name}, ID: facts.id, SizeBytes: facts.size, Access: image.Labels[labelAccess]}, nil
}

// Images implements runtime.Runtime.
func (r *Runtime) Images(ctx context.Context) ([]runtime.Image, error) {
	list, err := r.client.ImageService().List(ctx)
	if err != nil {
		return nil, native(err)
	}
	var out []runtime.Image
	for _, image := range list {
		facts, err := r.facts(ctx, image)
		if err != nil {
			continue // of another platform, or its content is being removed: it cannot be run
		}
		i := slices.IndexFunc(out, func(o runtime.Image) bool { return o.ID == facts.id })
		if i < 0 {
			i = len(out)
			out = append(out, runtime.Image{ID: facts.id, SizeBytes: facts.size})
		}
		out[i].Names = append(out[i].Names, image.Name)
	}
	return out, nil
}

// lookup finds a present image. The name is read each time, because it may be given to another image at any time.
func (r *Runtime) lookup(ctx context.Context, ref string) (images.Image, *imageFacts, error) {
	name, err := normalize(ref)
	if err != nil {
		return images.Image{}, nil, err
	}
	image, err := r.client.ImageService().Get(ctx, name)
	if err != nil {
		return images.Image{}, nil, fmt.Errorf("image %q: %w", ref, native(err))
	}
	facts, err := r.facts(ctx, image)
	if err != nil {
		return images.Image{}, nil, fmt.Errorf("image %q: %w", ref, err)
	}
	return image, facts, nil
}

// lookupFor finds the image of a container, which is the one that was decided on.
func (r *Runtime) lookupFor(ctx context.Context, spec *runtime.ContainerSpec) (*imageFacts, error) {
	_, facts, err := r.lookup(ctx, spec.Image)
	if err == nil && spec.ImageID != "" && spec.ImageID != facts.id {
		return nil, fmt.Errorf("image %q is %s now and no longer %s: %w", spec.Image, facts.id, spec.ImageID, errdefs.ErrNotFound)
	}
	return facts, err
}

// facts reads an image's manifest and configuration, once.
func (r *Runtime) facts(ctx context.Context, image images.Image) (*imageFacts, error) {
	digest := image.Target.Digest.String()
	if facts := r.images.get(digest); facts != nil {
		return facts, nil
	}
	ctx = r.ns(ctx)
	store := documents{r.client.ContentStore()}
	i := client.NewImage(r.client, image)
	descriptor, err := image.Config(ctx, store, i.Platform())
	if err != nil {
		return nil, native(err)
	}
	blob, err := content.ReadBlob(ctx, store, descriptor)
	if err != nil {
		return nil, native(err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(blob, &config); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", image.Name, err)
	}
	size, err := i.Size(ctx) // its documents are as small as they were a moment ago
	if err != nil {
		return nil, native(err)
	}
	facts := &imageFacts{
		id: descriptor.Digest.String(), chainID: identity.ChainID(config.RootFS.DiffIDs).String(), size: size, config: config.Config,
		read: int64(len(blob)),
	}
	if err := r.unpacked(ctx, i, facts); err != nil {
		return nil, err
	}
	if facts.volumes, err = volumesOf(config.Config.Volumes); err != nil {
		return nil, err
	}
	// A look into the image for all that is to be known of its files.
	if err := r.view(ctx, "miniplane-user", facts, facts.lookInto); err != nil {
		return nil, err
	}
	facts.read += facts.accounts.size()
	r.images.put(digest, facts)
	return facts, nil
}

// lookInto finds out what is to be known of an image's files: its users and groups, from its /etc/passwd and /etc/group (whom a container runs as is
// worked out from them, by resolveUser), and what is in its volumes.
func (f *imageFacts) lookInto(root string) (err error) {
	if f.accounts, err = readAccounts(root); err != nil {
		return err
	}
	for i := range f.volumes {
		f.volumes[i].lookInto(root)
	}
	return nil
}

// unpacked makes sure that the image's layers are snapshots, which a plain import need not have done.
func (r *Runtime) unpacked(ctx context.Context, image client.Image, facts *imageFacts) error {
	_, err := r.snaps.Stat(ctx, facts.chainID)
	if err == nil {
		return nil
	}
	if err = native(err); !errdefs.IsNotFound(err) {
		return err
	}
	ctx, done, err := r.lease(ctx)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer done()
	if err := image.Unpack(ctx, snapshotter); err != nil {
		return fmt.Errorf("unpack: %w", native(err))
	}
	return nil
}

func (c *imageCache) forget(facts *imageFacts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for digest, f := range c.byDigest {
		if f == facts {
			delete(c.byDigest, digest)
			c.held -= facts.read
		}
	}
}

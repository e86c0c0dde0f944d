package containerd

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxDocument is how large a manifest, an index or a configuration of an image may be, in bytes: they are read into memory.
	// Registries draw the line for manifests there too.
	maxDocument = 4 << 20
	// maxProcess is how much of an image's configuration can be for its process, in bytes: it goes into the record of each container, and the
	// records of all containers of a node are read together, again and again.
	maxProcess = 256 << 10
	// maxFacts bounds what is remembered of all images together, in bytes of what was read.
	maxFacts = 64 << 20
)

// documents reads what images say of themselves, and nothing that is too large for that. Whoever makes an image writes it.
type documents struct{ content.Provider }

// ReaderAt implements content.Provider.
func (d documents) ReaderAt(ctx context.Context, descriptor ocispec.Descriptor) (content.ReaderAt, error) {
	reader, err := d.Provider.ReaderAt(ctx, descriptor)
	if err != nil {
		return nil, err
	}
	if size := reader.Size(); size > maxDocument {
		_ = reader.Close()
		return nil, tooLarge(descriptor, size)
	}
	return reader, nil
}

func tooLarge(descriptor ocispec.Descriptor, size int64) error {
	return fmt.Errorf("the image's %s %s has %d bytes, and at most %d are read: %w",
		descriptor.MediaType, descriptor.Digest, size, maxDocument, errdefs.ErrInvalidArgument)
}

// checkDocument refuses, before a pull fetches it, a document that is too large, or that says nothing of its size.
func checkDocument(_ context.Context, descriptor ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	kind := descriptor.MediaType
	document := images.IsManifestType(kind) || images.IsIndexType(kind) || images.IsConfigType(kind)
	if document && (descriptor.Size <= 0 || descriptor.Size > maxDocument) {
		return nil, tooLarge(descriptor, descriptor.Size)
	}
	return nil, nil
}

// checkProcess refuses an image whose process has so much to be told that its containers' records would be a burden for their node.
func checkProcess(config *ocispec.ImageConfig) error {
	size := len(config.User) + len(config.WorkingDir)
	for _, list := range [][]string{config.Env, config.Entrypoint, config.Cmd} {
		for _, text := range list {
			size += len(text) + 1
		}
	}
	if size > maxProcess {
		return fmt.Errorf("the image's environment, command, user and directory have %d bytes, and at most %d are taken: %w", size, maxProcess, errdefs.ErrInvalidArgument)
	}
	return nil
}

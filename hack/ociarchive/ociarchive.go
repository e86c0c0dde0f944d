// Package ociarchive writes and reads image archives: one tar file with an OCI image layout in it and the images' names in
// its index, as `ctr images import`, `kind load image-archive` and `make image-load` take it.
//
// The bytes depend on the images alone, not on the time or the machine, so that an unchanged archive is not loaded anew.
package ociarchive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// The annotations that carry an image's name: containerd's, with the whole reference, and OCI's.
const (
	nameAnnotation = "io.containerd.image.name"
	refAnnotation  = "org.opencontainers.image.ref.name"
)

// Named is an image and the reference it is known by, as in "miniplane.dev/echo:v1".
type Named struct {
	Ref   string
	Image v1.Image
}

// Write makes the archive at path, replacing what is there only once the new one is whole.
func Write(path string, images []Named) error {
	dir, err := os.MkdirTemp("", "ociarchive-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	for _, n := range images {
		names := map[string]string{nameAnnotation: n.Ref, refAnnotation: n.Ref}
		if err := l.AppendImage(n.Image, layout.WithAnnotations(names)); err != nil {
			return fmt.Errorf("%s: %w", n.Ref, err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := pack(dir, path+".tmp"); err != nil {
		return errors.Join(err, os.Remove(path+".tmp"))
	}
	return os.Rename(path+".tmp", path)
}

// Read unpacks the archive into dir, which must live as long as the images are used, and returns its images.
func Read(path, dir string) ([]Named, error) {
	if err := unpack(path, dir); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: not an OCI archive: %w", path, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var images []Named
	for _, d := range manifest.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		images = append(images, Named{Ref: d.Annotations[nameAnnotation], Image: image})
	}
	return images, nil
}

// pack writes the tree of dir as a tar file, sorted, without times and owners.
func pack(dir, path string) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := tar.NewWriter(file)
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return packFile(w, dir, name)
	})
	return errors.Join(err, w.Close())
}

func packFile(w *tar.Writer, dir, name string) error {
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	return err
}

func unpack(path, dir string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg || !filepath.IsLocal(header.Name) {
			continue
		}
		if err := unpackFile(r, filepath.Join(dir, header.Name)); err != nil {
			return err
		}
	}
}

func unpackFile(r io.Reader, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	return errors.Join(err, file.Close())
}

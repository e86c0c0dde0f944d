package main

import (
	"archive/tar"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestImage(t *testing.T) {
	layer, err := newLayer([]file{{name: "bin/a", mode: 0o755, content: []byte("A")}, {name: "bin/b", link: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	image, err := newImage(layer, v1.Config{Entrypoint: []string{"/bin/a"}})
	if err != nil {
		t.Fatal(err)
	}
	if config, err := image.ConfigFile(); err != nil || config.OS != "linux" || len(config.RootFS.DiffIDs) != 1 {
		t.Errorf("config = %+v, %v", config, err)
	}
	if err := validate.Layer(layer); err != nil {
		t.Error(err)
	}
	reader, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(reader); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r)
		got[h.Name] = h.Linkname + string(body)
	}
	if diff := cmp.Diff(map[string]string{"tmp/": "", "bin/a": "A", "bin/b": "a"}, got); diff != "" {
		t.Errorf("layer (-want +got):\n%s", diff)
	}
}

func TestUnknownImage(t *testing.T) {
	if err := build("nginx", t.TempDir(), false); err == nil {
		t.Error("no error for an unknown image")
	}
}

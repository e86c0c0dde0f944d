package ociarchive

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func image(t *testing.T, version string) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte("same layer"), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Env: []string{"V=" + version}})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestWriteRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "a.tar")
	want := []Named{{"example.org/a:v1", image(t, "1")}, {"example.org/a:v2", image(t, "2")}}
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(path); !bytes.Equal(first, second) {
		t.Error("the same images gave another archive")
	}
	got, err := Read(path, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("read %d images, want %d", len(got), len(want))
	}
	for i := range want {
		w, _ := want[i].Image.Digest()
		g, _ := got[i].Image.Digest()
		if got[i].Ref != want[i].Ref || g != w {
			t.Errorf("image %d is %s %s, want %s %s", i, got[i].Ref, g, want[i].Ref, w)
		}
	}
}

func TestReadWhatIsNoArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, t.TempDir()); err == nil {
		t.Error("no error for a file that is no archive")
	}
}

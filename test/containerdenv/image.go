package containerdenv

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File of an image; a directory where the path ends with a slash.
type File struct {
	Path string
	Mode int64
	Data []byte
	// Owner is its user and group.
	Owner int
}

// Image builds an image of one layer in memory, for this machine's platform.
func Image(t testing.TB, config v1.Config, files ...File) v1.Image {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, dir := range []string{"etc/", "tmp/", "bin/", "proc/", "sys/", "dev/"} {
		add(t, w, &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
	}
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode, Size: int64(len(f.Data)), Uid: f.Owner, Gid: f.Owner}
		if strings.HasSuffix(f.Path, "/") {
			header.Typeflag = tar.TypeDir
		}
		add(t, w, header, f.Data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	if image, err = mutate.ConfigFile(image, file); err != nil {
		t.Fatal(err)
	}
	return image
}

// Busybox is an image with the machine's static busybox as its shell, or the program at /bin/busybox of the tree that
// MINIPLANE_TEST_BUSYBOX names. Its command is a shell.
func Busybox(t testing.TB, config v1.Config, files ...File) v1.Image {
	t.Helper()
	path := os.Getenv("MINIPLANE_TEST_BUSYBOX")
	if path == "" {
		path = "/usr/bin/busybox"
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("a static busybox is needed (Debian: busybox-static): %v", err)
	}
	if out, _ := exec.Command("ldd", path).CombinedOutput(); bytes.Contains(out, []byte("=>")) {
		t.Fatalf("%s is not static (Debian: busybox-static)", path)
	}
	if config.Cmd == nil {
		config.Cmd = []string{"/bin/busybox", "sh"}
	}
	config.Env = append([]string{"PATH=/bin"}, config.Env...)
	return Image(t, config, append([]File{
		{Path: "bin/busybox", Mode: 0o755, Data: data}, {Path: "bin/sh", Mode: 0o755, Data: data},
		{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0::/:/bin/sh\nplain:x:1000:1000::/:/bin/sh\n")},
		{Path: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nplain:x:1000:\nextra:x:2000:plain\n")}}, files...)...)
}

// ImportImage makes an image present in containerd, unpacked, under a name as in "docker.io/library/echo:test".
func (e *Env) ImportImage(t testing.TB, ref string, image v1.Image) {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	e.ImportArchive(t, path)
}

// ImportArchive imports a docker or OCI archive.
func (e *Env) ImportArchive(t testing.TB, path string) {
	t.Helper()
	c := e.Client(t)
	defer c.Close()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx := namespaces.WithNamespace(context.Background(), Namespace)
	images, err := c.Import(ctx, f)
	if err != nil {
		t.Fatalf("import %s: %v", path, err)
	}
	for _, image := range images {
		if err := client.NewImage(c, image).Unpack(ctx, "overlayfs"); err != nil {
			t.Fatalf("unpack %s: %v", image.Name, err)
		}
	}
}

func add(t testing.TB, w *tar.Writer, header *tar.Header, data []byte) {
	t.Helper()
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}

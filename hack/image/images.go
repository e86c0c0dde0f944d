package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"miniplane.dev/miniplane/hack/ociarchive"
)

// nobody runs what needs no rights; ports below 1024 do.
const nobody = "65532:65532"

// file is an entry of a layer: a regular file, or a link if it has a target.
type file struct {
	name, link string
	mode       int64
	content    []byte
}

// echoImages are two versions of the echo server, for rolling updates, and one that listens on port 80 as web servers'
// images do.
func echoImages() ([]ociarchive.Named, error) {
	binary, err := goBinary("./test/images/echo")
	if err != nil {
		return nil, err
	}
	layer, err := newLayer([]file{{name: "echo", mode: 0o755, content: binary}})
	if err != nil {
		return nil, err
	}
	variant := func(ref, version, port, user string) (ociarchive.Named, error) {
		image, err := newImage(layer, v1.Config{
			Entrypoint:   []string{"/echo"},
			Env:          []string{"PATH=/", "ECHO_VERSION=" + version, "ECHO_PORT=" + port},
			User:         user,
			ExposedPorts: map[string]struct{}{port + "/tcp": {}, port + "/udp": {}},
		})
		return ociarchive.Named{Ref: ref, Image: image}, err
	}
	one, err1 := variant("miniplane.dev/echo:v1", "v1", "8080", nobody)
	two, err2 := variant("miniplane.dev/echo:v2", "v2", "8080", nobody)
	web, err3 := variant("miniplane.dev/web:v1", "v1", "80", "0:0")
	return []ociarchive.Named{one, two, web}, errors.Join(err1, err2, err3)
}

// busyboxFiles are a shell with the usual commands.
func busyboxFiles() ([]file, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, errors.New("busybox is missing: apt-get install busybox-static")
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	files := []file{
		{name: "bin/busybox", mode: 0o755, content: binary},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/bin/sh\nnobody:x:65532:65532:nobody:/:/bin/sh\n")},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnobody:x:65532:\n")},
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			files = append(files, file{name: "bin/" + filepath.Base(applet), link: "busybox"})
		}
	}
	return files, nil
}

// busyboxImages is busybox, and the same with a VOLUME.
func busyboxImages() ([]ociarchive.Named, error) {
	files, err := busyboxFiles()
	if err != nil {
		return nil, err
	}
	layer, err := newLayer(files)
	if err != nil {
		return nil, err
	}
	config := v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin"}}
	image, err1 := newImage(layer, config)
	config.Volumes = map[string]struct{}{"/data": {}}
	withVolume, err2 := newImage(layer, config)
	return []ociarchive.Named{{Ref: "miniplane.dev/busybox:v1", Image: image}, {Ref: "miniplane.dev/busybox:volume", Image: withVolume}}, errors.Join(err1, err2)
}

// goBinary builds a static program of this module. Flags go to the linker.
func goBinary(pkg string, flags ...string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(append(flags, "-s", "-w"), " "), "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go build %s: %w", pkg, err)
	}
	return os.ReadFile(out)
}

// newLayer makes a layer with these files, and /tmp, owned by root and without times.
func newLayer(files []file) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}); err != nil {
		return nil, err
	}
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if f.link != "" {
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.link, 0o777
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

func newImage(layer v1.Layer, config v1.Config) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	return mutate.ConfigFile(image, file)
}

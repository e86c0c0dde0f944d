package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"miniplane.dev/miniplane/hack/ociarchive"
)

//go:embed sandbox/sandbox.c
var sandboxSource string

// sandboxImages is what a native Pod's sandbox runs. Kubernetes has one of the same kind, but no registry is needed for
// this one, and miniplane's own pause program only works as a child of the agent.
func sandboxImages() ([]ociarchive.Named, error) {
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, "sandbox")
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	cmd := exec.Command(cc, "-xc", "-Os", "-static", "-s", "-Wl,--build-id=none", "-o", out, "-")
	cmd.Stdin = strings.NewReader(sandboxSource)
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cc, err, said)
	}
	binary, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	layer, err := newLayer([]file{{name: "sandbox", mode: 0o755, content: binary}})
	if err != nil {
		return nil, err
	}
	image, err := newImage(layer, v1.Config{Entrypoint: []string{"/sandbox"}, User: nobody})
	return []ociarchive.Named{{Ref: "miniplane.dev/sandbox:v1", Image: image}}, err
}

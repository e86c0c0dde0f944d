package containerd_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/containerdenv"
)

// TestLargeDocuments: an image with a configuration that is too large to be read is refused, in words, whether it is there already or
// has to be pulled; the next image is as good as before.
func TestLargeDocuments(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	large := containerdenv.Busybox(t, v1.Config{Labels: map[string]string{"much": strings.Repeat("x", 5<<20)}})
	n.ImportImage(t, "docker.io/library/large:test", large)
	err := r.Create(t.Context(), runtime.ContainerSpec{ID: "large", Group: "large", Image: "large:test", Command: shell("true")})
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "at most 4194304 are read") {
		t.Errorf("there already: %v", err)
	}
	if _, err := r.Images(t.Context()); err != nil {
		t.Errorf("the list of images: %v", err)
	}
	other := containerdenv.Busybox(t, v1.Config{Labels: map[string]string{"much": strings.Repeat("y", 5<<20)}})
	reg := newRegistry(t, other, "open/large:1")
	n.opts.InsecureRegistries = []string{reg.host}
	r = n.runtime(t)
	if _, err := r.PullImage(t.Context(), reg.host+"/open/large:1", nil); err == nil || !strings.Contains(err.Error(), "at most 4194304 are read") {
		t.Errorf("pulled: %v", err)
	}
	if _, err := r.Image(t.Context(), busybox); err != nil {
		t.Error(err)
	}
}

// TestLargeProcess: what an image wants its process to be told goes into no record beyond a bound, wherever in the configuration it is.
func TestLargeProcess(t *testing.T) {
	n := newNode(t)
	r := n.runtime(t)
	much := strings.Repeat("x", 300<<10)
	for name, config := range map[string]v1.Config{
		"env": {Env: []string{"MUCH=" + much}}, "cmd": {Cmd: []string{much}}, "entrypoint": {Entrypoint: []string{much}}, "user": {User: much}, "dir": {WorkingDir: "/" + much},
	} {
		n.ImportImage(t, "docker.io/library/"+name+":test", containerdenv.Busybox(t, config))
		err := r.Create(t.Context(), runtime.ContainerSpec{ID: name, Group: name, Image: name + ":test", Command: shell("true")})
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "at most 262144 are taken") {
			t.Errorf("%s: %.200v", name, err)
		}
	}
	if containers, err := r.List(t.Context()); err != nil || len(containers) > 0 {
		t.Errorf("%d containers, %v", len(containers), err)
	}
}

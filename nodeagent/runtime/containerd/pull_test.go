package containerd_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"miniplane.dev/miniplane/nodeagent/imageaccess"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/containerdenv"
)

// testRegistry is a registry on loopback: what is below /v2/private wants user "me" with password "secret".
type testRegistry struct {
	host      string
	manifests atomic.Int32 // manifests asked for by GET
	delay     atomic.Int64 // of each blob, nanoseconds
	now, most atomic.Int32 // blobs under way at once
	public    atomic.Bool  // nothing is private any more
}

func newRegistry(t *testing.T, image v1.Image, repositories ...string) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ := req.BasicAuth()
		if strings.HasPrefix(req.URL.Path, "/v2/private/") && !r.public.Load() && (user != "me" || password != "secret") {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		if strings.HasPrefix(req.URL.Path, "/v2/forbidden/") {
			http.Error(w, `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden)
			return
		}
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/manifests/") {
			r.manifests.Add(1)
		}
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			r.most.Store(max(r.most.Load(), r.now.Add(1)))
			time.Sleep(time.Duration(r.delay.Load()))
			defer r.now.Add(-1)
		}
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	for _, repository := range repositories {
		r.push(t, image, repository)
	}
	return r
}

func (r *testRegistry) push(t *testing.T, image v1.Image, repository string) {
	t.Helper()
	ref, err := name.ParseReference(r.host+"/"+repository, name.Insecure)
	must(t, err)
	must(t, remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: "me", Password: "secret"})))
}

// What is written down of who may run an image, by what a real registry asks for.
func TestAccessAfterPulls(t *testing.T) {
	n := newNode(t)
	image := containerdenv.Busybox(t, v1.Config{Labels: map[string]string{"version": "1"}})
	reg := newRegistry(t, image, "open/app:1", "private/app:1", "private/loaded:1")
	n.opts.InsecureRegistries = []string{reg.host}
	n.ImportImage(t, reg.host+"/private/loaded:1", image)
	r := n.runtime(t)
	login := []runtime.RegistryAuth{{Registry: reg.host, Username: "me", Password: "secret", Secret: "ns/s/uid"}}
	pull := func(name string, auths []runtime.RegistryAuth, free bool) {
		t.Helper()
		pulled, err := r.PullImage(t.Context(), reg.host+name, auths)
		must(t, err)
		there, err := n.runtime(t).Image(t.Context(), reg.host+name) // as another agent sees it
		must(t, err)
		access := imageaccess.Parse(there.Access)
		if there.Access != pulled.Access || access.Free() != free || !access.Admits(login) {
			t.Errorf("%s: access %q when it was pulled, %q now; should be free: %t", name, pulled.Access, there.Access, free)
		}
	}
	pull("/open/app:1", login, true) // nobody asked for it
	pull("/private/app:1", login, false)
	pull("/private/app:1", login, false)
	if loaded, err := r.Image(t.Context(), reg.host+"/private/loaded:1"); err != nil || loaded.Access != "" {
		t.Errorf("what was loaded is for everybody: %+v, %v", loaded, err)
	}
	reg.public.Store(true)
	pull("/private/app:1", nil, true)
	reg.public.Store(false)
	pull("/private/app:1", login, true)
	next := containerdenv.Busybox(t, v1.Config{Labels: map[string]string{"version": "2"}})
	for _, name := range []string{"private/app:1", "private/loaded:1"} {
		reg.push(t, next, name)
		pull("/"+name, login, false) // other content
	}
	if _, err := r.PullImage(t.Context(), reg.host+"/private/app:1", nil); !errdefs.IsUnauthorized(err) {
		t.Errorf("the registry was not asked again: %v", err)
	}
}

func TestPull(t *testing.T) {
	n := newNode(t)
	reg := newRegistry(t, containerdenv.Busybox(t, v1.Config{Labels: map[string]string{"from": "registry"}}), "open/app:1", "private/app:1")
	n.opts.InsecureRegistries = []string{reg.host}
	r := n.runtime(t)
	mine := runtime.RegistryAuth{Registry: reg.host, Username: "me", Password: "secret"}
	wrong := runtime.RegistryAuth{Registry: "http://" + reg.host + "/private", Username: "me", Password: "guess"}
	other := runtime.RegistryAuth{Registry: "registry.example.com", Username: "me", Password: "secret"}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for _, test := range []struct {
		name, ref string
		auths     []runtime.RegistryAuth
		is        func(error) bool
		says      string
	}{
		{"no such image", "/open/none:1", nil, errdefs.IsNotFound, "no such image"},
		{"no such tag", "/open/app:2", nil, errdefs.IsNotFound, "no such image"},
		{"no login", "/private/app:1", nil, errdefs.IsUnauthorized, "no imagePullSecret fits"},
		{"login for another registry", "/private/app:1", []runtime.RegistryAuth{other}, errdefs.IsUnauthorized, "no imagePullSecret fits"},
		{"wrong password", "/private/app:1", []runtime.RegistryAuth{wrong}, errdefs.IsUnauthorized, ""},
		{"forbidden", "/forbidden/app:1", nil, errdefs.IsPermissionDenied, "does not let"},
		{"bad reference", "/UPPER:1", nil, errdefs.IsInvalidArgument, "UPPER"},
		{"open", "/open/app:1", nil, nil, ""},
		{"with login", "/private/app:1", []runtime.RegistryAuth{other, mine}, nil, ""},
		{"the wrong one first", "/private/app:1", []runtime.RegistryAuth{wrong, mine}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			image, err := r.PullImage(t.Context(), reg.host+test.ref, test.auths)
			switch {
			case test.is == nil && err != nil:
				t.Error(err)
			case test.is == nil && (image.ID == "" || image.Names[0] != reg.host+test.ref):
				t.Errorf("image %+v", image)
			case test.is != nil && (!test.is(err) || !strings.Contains(err.Error(), test.says)):
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
		})
	}
	if _, err := r.PullImage(t.Context(), closed.Addr().String()+"/app:1", nil); !errdefs.IsUnavailable(err) {
		t.Errorf("registry that is not there: %v", err)
	}
	spec := n.start(t, r, "pulled", "echo it runs", func(s *runtime.ContainerSpec) { s.Image = reg.host + "/open/app:1" })
	output(t, spec, "it runs")
}

// heard is what a pull tells of its progress.
type heard struct{ expected, bytes atomic.Int64 }

func (h *heard) Request(int)        {}
func (h *heard) Expect(bytes int64) { h.expected.Add(bytes) }
func (h *heard) Bytes(n int)        { h.bytes.Add(int64(n)) }

// A pull tells how much is to come before it has come, and of layers that are there nothing.
func TestPullTellsWhatIsToCome(t *testing.T) {
	n := newNode(t)
	layer, err := random.Layer(1<<20, types.OCILayer) // which no other image has
	must(t, err)
	image, err := mutate.AppendLayers(containerdenv.Busybox(t, v1.Config{}), layer)
	must(t, err)
	n.ImportImage(t, "base:1", containerdenv.Busybox(t, v1.Config{}))
	size, err := layer.Size()
	must(t, err)
	reg := newRegistry(t, image, "open/app:1", "open/again:1")
	n.opts.InsecureRegistries = []string{reg.host}
	r := n.runtime(t)
	for _, pull := range []struct {
		ref  string
		want int64
	}{{"/open/app:1", size}, {"/open/again:1", 0}} {
		var told heard
		_, err := r.PullImage(runtime.WithPullProgress(t.Context(), &told), reg.host+pull.ref, nil)
		must(t, err)
		if got := told.expected.Load(); got != pull.want || told.bytes.Load() < pull.want {
			t.Errorf("%s: %d bytes were to come, want %d; %d came", pull.ref, got, pull.want, told.bytes.Load())
		}
	}
}

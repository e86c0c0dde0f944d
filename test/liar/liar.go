// Package liar is a container registry that does what a registry must not: it is slow, says other things than it promised, or nothing at all. It is
// the real one of go-containerregistry behind a handler that spoils its answers, repository by repository, until it is healed.
//
// What makes it hard: each lie must be one that only the client can find out. So a manifest that names a wrong size is a manifest of its own, with
// a digest that is right, and bytes that are wrong come with a length that is right.
package liar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"miniplane.dev/miniplane/hack/inprocess"
)

// Lie is one way of being wrong.
type Lie struct {
	// Repository that has it, which says what it is.
	Repository string
	// Words are in what people are told of it.
	Words string
	// Slow says that it is no lie, and takes minutes.
	Slow bool

	// spoil answers in place of the registry; false where it does not.
	spoil func(w http.ResponseWriter, r *http.Request, l *layer) bool
}

// layer is the one of an image that no other has: its bytes are what is lied about.
type layer struct {
	digest  string
	content []byte
	healed  <-chan struct{}
}

const (
	// layerSize is more than what fits into buffers on the way.
	layerSize = 512 << 10
	// hugeSize is what no disk has.
	hugeSize = 1 << 50
)

// Lies are all of them. Words are learned from what a real containerd says.
func Lies() []Lie {
	return []Lie{
		{Repository: "slow", Slow: true, spoil: ofBlob(trickle)},
		{Repository: "other-bytes", Words: "unexpected commit digest", spoil: ofBlob(func(w http.ResponseWriter, _ *http.Request, l *layer) {
			whole(w, bytes.Repeat([]byte("x"), len(l.content)))
		})},
		{Repository: "too-long", Words: "read past expected size", spoil: ofBlob(func(w http.ResponseWriter, _ *http.Request, l *layer) {
			whole(w, append(bytes.Clone(l.content), bytes.Repeat([]byte("x"), 1<<10)...))
		})},
		{Repository: "cut-off", Words: "short read", spoil: ofBlob(cut)},
		{Repository: "html", Words: `sends "text/html", which is no image`, spoil: ofManifest(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			whole(w, []byte("<html><body>Welcome to the airport's network. Please sign in.</body></html>"))
		})},
		{Repository: "failing", Words: "503 Service Unavailable", spoil: ofManifest(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"errors":[{"code":"UNAVAILABLE","message":"the database is away"}]}`, http.StatusServiceUnavailable)
		})},
		{Repository: "redirects", Words: "stopped after 10 redirects", spoil: ofManifest(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		})},
		{Repository: "redirected-blob", Words: "stopped after 10 redirects", spoil: ofBlob(func(w http.ResponseWriter, r *http.Request, _ *layer) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		})},
		{Repository: "huge", Words: "short read: expected 1125899906842624 bytes", spoil: nil}, // its manifest says so: see Push
		{Repository: "silent", Words: "nothing came from the registry", spoil: ofBlob(func(_ http.ResponseWriter, r *http.Request, _ *layer) {
			<-r.Context().Done()
		})},
	}
}

// ofManifest spoils all that is asked about a manifest.
func ofManifest(answer func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request, *layer) bool {
	return func(w http.ResponseWriter, r *http.Request, _ *layer) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		answer(w, r)
		return true
	}
}

// ofBlob spoils what is told of the layer.
func ofBlob(answer func(http.ResponseWriter, *http.Request, *layer)) func(http.ResponseWriter, *http.Request, *layer) bool {
	return func(w http.ResponseWriter, r *http.Request, l *layer) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/blobs/"+l.digest) {
			return false
		}
		answer(w, r, l)
		return true
	}
}

func whole(w http.ResponseWriter, content []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	_, _ = w.Write(content)
}

// trickle gives a little now and then, so that the layer takes minutes.
func trickle(w http.ResponseWriter, r *http.Request, l *layer) {
	w.Header().Set("Content-Length", fmt.Sprint(len(l.content)))
	const pieces = 1 << 10
	for rest := l.content; len(rest) > 0; {
		piece := rest[:min(len(rest), len(l.content)/pieces)]
		if _, err := w.Write(piece); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		rest = rest[len(piece):]
		select {
		case <-r.Context().Done():
			return
		case <-l.healed: // the rest at once
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// cut breaks the connection in the middle.
func cut(w http.ResponseWriter, _ *http.Request, l *layer) {
	w.Header().Set("Content-Length", fmt.Sprint(len(l.content)))
	_, _ = w.Write(l.content[:len(l.content)/2])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// Registry has an image in the repository of each lie.
type Registry struct {
	store  http.Handler
	lies   map[string]Lie
	layers map[string]*layer
	healed chan struct{}
}

// New makes one with an image like this for each lie, and in the repository "honest" one that nothing is wrong with. No two share a layer with
// each other, or with those of another registry.
func New(base v1.Image) (*Registry, error) {
	r := &Registry{store: registry.New(registry.Logger(log.New(io.Discard, "", 0))), lies: map[string]Lie{}, layers: map[string]*layer{}, healed: make(chan struct{})}
	for _, lie := range append(Lies(), Lie{Repository: Honest}) {
		own, err := random.Layer(layerSize, types.OCILayer)
		if err != nil {
			return nil, err
		}
		image, err := mutate.AppendLayers(base, own)
		if err != nil {
			return nil, err
		}
		if r.layers[lie.Repository], err = read(own); err != nil {
			return nil, err
		}
		r.layers[lie.Repository].healed = r.healed
		if err := r.push(lie.Repository+":v1", image); err != nil {
			return nil, err
		}
		r.lies[lie.Repository] = lie
	}
	return r, nil
}

// Honest is the repository that has no lie.
const Honest = "honest"

func read(l v1.Layer) (*layer, error) {
	digest, err := l.Digest()
	if err != nil {
		return nil, err
	}
	content, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }()
	data, err := io.ReadAll(content)
	return &layer{digest: digest.String(), content: data}, err
}

func (r *Registry) push(ref string, image v1.Image) error {
	to, err := name.ParseReference("localhost/"+ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(to, image, remote.WithTransport(inprocess.Transport{Handler: r.store}))
}

// Heal has it tell the truth from now on. It is called once.
func (r *Registry) Heal() { close(r.healed) }

func (r *Registry) isHealed() bool {
	select {
	case <-r.healed:
		return true
	default:
		return false
	}
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	repository, _, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/v2/"), "/")
	lie, known := r.lies[repository]
	switch {
	case r.isHealed() || !known:
	case repository == "huge" && strings.Contains(request.URL.Path, "/manifests/"):
		r.exaggerate(w, request)
		return
	case lie.spoil != nil && lie.spoil(w, request, r.layers[repository]):
		return
	}
	r.store.ServeHTTP(w, request)
}

// exaggerate answers with the manifest, in which the size of the layer is more than there can be. By its digest it is the right one.
func (r *Registry) exaggerate(w http.ResponseWriter, request *http.Request) {
	recorder := httptest.NewRecorder()
	get := request.Clone(request.Context())
	get.Method, get.URL.Path = http.MethodGet, "/v2/huge/manifests/v1"
	r.store.ServeHTTP(recorder, get)
	var manifest v1.Manifest
	if err := json.Unmarshal(recorder.Body.Bytes(), &manifest); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	manifest.Layers[len(manifest.Layers)-1].Size = hugeSize
	content, err := json.Marshal(&manifest)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	digest, _, _ := v1.SHA256(bytes.NewReader(content))
	w.Header().Set("Content-Type", recorder.Header().Get("Content-Type"))
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	if request.Method != http.MethodHead {
		_, _ = w.Write(content)
	}
}

package main

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"miniplane.dev/miniplane/hack/inprocess"
	"miniplane.dev/miniplane/hack/ociarchive"
)

// The two repositories of every image.
const (
	openPrefix    = "open"
	privatePrefix = "private"
)

// newStore is a registry that holds the images of the archives under both prefixes.
func newStore(archives []string) (http.Handler, error) {
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	for _, archive := range archives {
		if err := fill(store, archive); err != nil {
			return nil, err
		}
	}
	return store, nil
}

func fill(store http.Handler, archive string) error {
	dir, err := os.MkdirTemp("", "registry-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	images, err := ociarchive.Read(archive, dir)
	if err != nil {
		return err
	}
	for _, image := range images {
		for _, prefix := range []string{openPrefix, privatePrefix} {
			ref, err := name.ParseReference(fmt.Sprintf("localhost:5000/%s/%s", prefix, path.Base(image.Ref)))
			if err != nil {
				return err
			}
			if err := remote.Write(ref, image.Image, remote.WithTransport(inprocess.Transport{Handler: store})); err != nil {
				return fmt.Errorf("%s: %w", ref, err)
			}
		}
	}
	return nil
}

// guard asks for the password before anything private, and lets nobody write.
func guard(store http.Handler, user, password string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		u, p, _ := r.BasicAuth()
		known := subtle.ConstantTimeCompare([]byte(u+"\n"+p), []byte(user+"\n"+password)) == 1
		switch {
		case strings.HasPrefix(r.URL.Path, "/v2/"+privatePrefix+"/") && !known:
			w.Header().Set("WWW-Authenticate", `Basic realm="private images"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"user and password needed"}]}`)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, "this registry is read-only", http.StatusMethodNotAllowed)
		default:
			store.ServeHTTP(w, r)
		}
	})
}

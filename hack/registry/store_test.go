package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"miniplane.dev/miniplane/hack/ociarchive"
)

func TestOpenAndPrivate(t *testing.T) {
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "a.tar")
	if err := ociarchive.Write(archive, []ociarchive.Named{{Ref: "miniplane.dev/echo:v1", Image: image}}); err != nil {
		t.Fatal(err)
	}
	store, err := newStore([]string{archive})
	if err != nil {
		t.Fatal(err)
	}
	handler := guard(store, "mini", "plane")
	for _, tc := range []struct {
		name, method, path, user, password string
		want                               int
	}{
		{"ping", "GET", "/v2/", "", "", 200},
		{"open", "GET", "/v2/open/echo/manifests/v1", "", "", 200},
		{"open, unknown tag", "GET", "/v2/open/echo/manifests/v9", "", "", 404},
		{"private without password", "GET", "/v2/private/echo/manifests/v1", "", "", 401},
		{"private with a wrong one", "GET", "/v2/private/echo/manifests/v1", "mini", "fish", 401},
		{"private", "GET", "/v2/private/echo/manifests/v1", "mini", "plane", 200},
		{"writing", "PUT", "/v2/open/echo/manifests/v2", "", "", 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, tc.path, nil)
			if tc.user != "" {
				r.SetBasicAuth(tc.user, tc.password)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != tc.want {
				t.Errorf("%d, want %d: %s", w.Code, tc.want, w.Body)
			}
			if tc.want == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("a refusal does not say how to log in")
			}
		})
	}
}

package conformance

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/imageaccess"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

func testImages(t *testing.T, s *suite) {
	image, err := s.r.Image(t.Context(), s.Image)
	must(t, err)
	if !strings.HasPrefix(image.ID, "sha256:") || image.SizeBytes <= 0 || len(image.Names) == 0 {
		t.Errorf("image %+v", image)
	}
	list, err := s.r.Images(t.Context())
	must(t, err)
	if !slices.ContainsFunc(list, func(i runtime.Image) bool { return i.ID == image.ID }) {
		t.Errorf("images %+v do not show %+v", list, image)
	}
	if _, err := s.r.Image(t.Context(), s.Missing); !errdefs.IsNotFound(err) {
		t.Errorf("missing image: %v, want NotFound", err)
	}
	if _, err := s.r.PullImage(t.Context(), s.Missing, nil); err == nil {
		t.Error("a missing image was pulled")
	}
}

func testPrivateImages(t *testing.T, s *suite) {
	image, err := s.r.Image(t.Context(), s.Image)
	must(t, err)
	if image.Access != "" {
		t.Errorf("what somebody put here is for everybody; access %q", image.Access)
	}
	wrong := s.Login
	wrong.Password += "x"
	for _, auths := range [][]runtime.RegistryAuth{nil, {wrong}} {
		if _, err := s.r.PullImage(t.Context(), s.Private, auths); !errdefs.IsUnauthorized(err) {
			t.Errorf("pulled with %v: %v", auths, err)
		}
	}
	first, second := s.Login, s.Login
	first.Secret, second.Secret = "ns/first/uid-1", "ns/second/uid-2"
	pulled, err := s.r.PullImage(t.Context(), s.Private, []runtime.RegistryAuth{first})
	must(t, err)
	for range 2 { // also when it is pulled once more
		there, err := s.r.Image(t.Context(), s.Private)
		must(t, err)
		access := imageaccess.Parse(there.Access)
		rotated := first
		rotated.Password = "new"
		if there.ID != pulled.ID || !access.Admits([]runtime.RegistryAuth{s.Login}) || !access.Admits([]runtime.RegistryAuth{rotated}) {
			t.Errorf("who pulled the image may not run it: %+v", there)
		}
		if access.Free() || access.Admits([]runtime.RegistryAuth{wrong}) {
			t.Errorf("others may run the image: %+v", there)
		}
		_, err = s.r.PullImage(t.Context(), s.Private, []runtime.RegistryAuth{second})
		must(t, err)
	}
	// A name that was given to another image since is not found.
	spec := s.spec(t, Program{})
	spec.ImageID = image.ID
	spec.Image = s.Private
	if err := s.r.Create(t.Context(), spec); image.ID == pulled.ID || !errdefs.IsNotFound(err) {
		t.Errorf("create from another image than was decided on: %v", err)
	}
	must(t, s.r.Remove(t.Context(), spec.ID))
	spec.ImageID = pulled.ID
	must(t, s.r.Create(t.Context(), spec))
	must(t, s.r.Remove(t.Context(), spec.ID))
}

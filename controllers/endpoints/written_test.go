package endpoints

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

var web = types.NamespacedName{Namespace: "ns", Name: "web"}

func version(name, uid string, generation int64) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), Generation: generation,
		ResourceVersion: uid + "-" + string(rune('0'+generation)), Labels: map[string]string{miniv1.ServiceNameLabel: "web"}}}
}

func versions(in []*discoveryv1.EndpointSlice) string {
	var out []string
	for _, slice := range in {
		out = append(out, slice.Name+"="+slice.ResourceVersion)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestWrittenIsAheadOfTheCache(t *testing.T) {
	w := newWritten()
	see := func(want string, cached ...*discoveryv1.EndpointSlice) {
		t.Helper()
		if diff := cmp.Diff(want, versions(w.over(web, cached))); diff != "" {
			t.Error(diff)
		}
	}
	see("a=u-1", version("a", "u", 1))

	w.note(web, version("a", "u", 2), false)
	w.note(web, version("b", "v", 1), false)
	if !w.has(version("a", "u", 2)) || w.has(version("a", "u", 3)) {
		t.Error("has should tell the very version that was written")
	}
	see("a=u-2 b=v-1", version("a", "u", 1))
	see("a=u-3 b=v-1", version("a", "u", 3), version("b", "v", 1)) // the cache has caught up, and more
	see("a=u-1", version("a", "u", 1))                             // so nothing is remembered

	w.note(web, version("a", "u", 1), true)
	see("", version("a", "u", 1))
	see("a=w-1", version("a", "w", 1)) // created again by somebody
	w.note(web, version("a", "w", 1), true)
	see("")
	see("a=w-1", version("a", "w", 1))

	w.note(web, version("a", "x", 1), false)
	see("a=x-1", version("a", "w", 1)) // created again by us; the cache shows the one before
	w.drop(version("a", "w", 1))
	see("a=x-1")
	w.drop(version("a", "x", 1))
	see("")
	w.note(web, version("a", "x", 1), false)
	w.forget(web)
	see("")
}

func TestPace(t *testing.T) {
	p, now := newPace(20*time.Millisecond), time.Unix(100, 0)
	if wait := p.wait(web, now); wait != 0 {
		t.Errorf("the first write waits %v", wait)
	}
	p.note(web, now)
	if wait := p.wait(web, now.Add(5*time.Millisecond)); wait != 15*time.Millisecond {
		t.Errorf("the second write waits %v", wait)
	}
	if wait := p.wait(web, now.Add(20*time.Millisecond)); wait > 0 {
		t.Errorf("a later write waits %v", wait)
	}
	p.forget(web)
	if wait := p.wait(web, now); wait != 0 {
		t.Errorf("a new service waits %v", wait)
	}
}

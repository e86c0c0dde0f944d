package podworker

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
)

// The end of a job is made by the worker, when it looks into its inbox; where nobody waits for it any more it changes nothing.
func TestEndOfPull(t *testing.T) {
	b := newBench(t)
	asked, failure := &miniv1.Container{Name: "main", Image: "echo:2"}, errors.New("broken")
	pulling := podplan.Image{Ref: "echo:2", State: podplan.ImagePulling, Failures: 1}
	for name, c := range map[string]struct {
		known podplan.Image
		err   error
		want  podplan.Image
	}{
		"it worked":             {pulling, nil, podplan.Image{Ref: "echo:2", State: podplan.ImagePresent, ID: "sha256:2"}},
		"it failed":             {pulling, failure, podplan.Image{Ref: "echo:2", State: podplan.ImageFailed, Failures: 2, FailedAt: t0, Message: "broken"}},
		"of another image":      {podplan.Image{Ref: "echo:3", State: podplan.ImagePulling}, nil, podplan.Image{Ref: "echo:3", State: podplan.ImagePulling}},
		"nobody waits for it":   {podplan.Image{Ref: "echo:2", State: podplan.ImageMissing}, nil, podplan.Image{Ref: "echo:2", State: podplan.ImageMissing}},
		"nobody waits, failing": {podplan.Image{Ref: "echo:3", State: podplan.ImagePresent}, failure, podplan.Image{Ref: "echo:3", State: podplan.ImagePresent}},
	} {
		w := newWorker(b.pool, testUID, newView())
		w.observed.Images["main"] = c.known
		goOn := make(chan struct{})
		w.beside(func() change {
			<-goOn
			return func(*view) { w.finishPull(asked, "sha256:2", c.err) }
		})
		w.takeIn(t.Context())
		if diff := cmp.Diff(c.known, w.observed.Images["main"]); diff != "" {
			t.Errorf("%s: changed while the job ran:\n%s", name, diff)
		}
		close(goOn)
		<-w.wake
		if diff := cmp.Diff(c.known, w.observed.Images["main"]); diff != "" {
			t.Errorf("%s: changed by another than the worker:\n%s", name, diff)
		}
		w.takeIn(t.Context())
		if diff := cmp.Diff(c.want, w.observed.Images["main"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

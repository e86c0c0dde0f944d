package rollout_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// story is a rollout: how it is set up, and what the user does, one edit after the other has been carried out.
type story struct {
	setup func(*sim)
	edits []func(*sim)
	// midway edits are made after so many steps of the edit before them, not at its end.
	midway int
}

func image(image string) func(*sim) { return func(s *sim) { s.image(image) } }
func scale(n int32) func(*sim)      { return func(s *sim) { s.scale(n) } }

func edit(what string, change func(*miniv1.MiniDeploymentSpec)) func(*sim) {
	return func(s *sim) { s.change(what, change) }
}

func rollbackTo(revision int64) func(*sim) {
	return edit("rollbackTo", func(spec *miniv1.MiniDeploymentSpec) { spec.RollbackTo = &miniv1.RollbackConfig{Revision: revision} })
}

func number(n int) intstr.IntOrString        { return intstr.FromInt32(int32(n)) }
func percent(text string) intstr.IntOrString { return intstr.FromString(text) }

func recreate(s *sim) { s.deployment.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType }

func pause(paused bool) func(*sim) {
	what := "resume"
	if paused {
		what = "pause"
	}
	return edit(what, func(spec *miniv1.MiniDeploymentSpec) { spec.Paused = paused })
}

var stories = map[string]story{
	"first":                 {edits: nil},
	"default-bounds":        {edits: []func(*sim){image("v2")}},
	"surge-1-unavailable-0": {setup: func(s *sim) { s.strategy(number(1), number(0)) }, edits: []func(*sim){image("v2")}},
	"surge-0-unavailable-1": {setup: func(s *sim) { s.strategy(number(0), number(1)) }, edits: []func(*sim){image("v2")}},
	"surge-all":             {setup: func(s *sim) { s.strategy(percent("100%"), percent("0%")) }, edits: []func(*sim){image("v2")}},
	"both-0-moves-anyway":   {setup: func(s *sim) { s.strategy(percent("0%"), number(0)) }, edits: []func(*sim){image("v2")}},
	"back-to-a-template":    {edits: []func(*sim){image("v2"), image("v1")}},
	"rollback":              {edits: []func(*sim){image("v2"), image("v3"), rollbackTo(1)}},
	"rollback-twice-named":  {edits: []func(*sim){image("v2"), rollbackTo(1), image("v3"), rollbackTo(2)}},
	"rollback-unknown":      {edits: []func(*sim){image("v2"), rollbackTo(7), scale(6)}},
	"scale":                 {edits: []func(*sim){scale(20), scale(2), scale(0), scale(3)}},
	"scale-and-image": {edits: []func(*sim){func(s *sim) {
		s.scale(10)
		s.image("v2")
	}}},
	"pause": {edits: []func(*sim){pause(true), image("v2"), scale(6), pause(false)}},
	"broken-then-fixed": {setup: func(s *sim) { s.broken["v2"] = true },
		edits: []func(*sim){image("v2"), image("v3")}},
	"broken-then-scaled": {setup: func(s *sim) { s.broken["v2"] = true; s.strategy(number(3), number(0)) },
		edits: []func(*sim){image("v2"), scale(12), scale(6)}},
	"recreate": {setup: recreate, edits: []func(*sim){image("v2"), scale(6), image("v3")}},
	"history-limit": {setup: func(s *sim) { limit := int32(1); s.deployment.Spec.RevisionHistoryLimit = &limit },
		edits: []func(*sim){image("v2"), image("v3"), image("v4")}},
	"overtaken": {edits: []func(*sim){image("v2"), image("v3")}, midway: 6},
}

// TestRollouts plays every story in fixed order against its golden file, and in many random orders against the
// invariants; the first random order has a golden file as well.
func TestRollouts(t *testing.T) {
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			golden(t, name, story.play(t, (*sim).run))
			for seed := range uint64(50) {
				log := story.play(t, func(s *sim) { s.runRandom(seed) })
				if seed == 0 {
					golden(t, name+"-random", log)
				}
			}
		})
	}
}

func (story story) play(t *testing.T, run func(*sim)) string {
	t.Helper()
	s := newSim(t, 4)
	if story.setup != nil {
		story.setup(s)
	}
	s.logf("user: create with %d replicas of v1", 4)
	run(s)
	for _, edit := range story.edits {
		edit(s)
		if story.midway > 0 {
			for range story.midway {
				for _, move := range s.movers() {
					move()
				}
			}
			continue
		}
		run(s)
	}
	if story.midway > 0 {
		run(s)
	}
	return s.log.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./internal/rollout -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs (-want,+got); if it should, run: go test ./internal/rollout -update\n%s", path, diff)
	}
}

package sched_test

import (
	"reflect"
	"strings"
	"testing"

	"miniplane.dev/miniplane/internal/sched"
	"miniplane.dev/miniplane/internal/sched/framework"
)

func TestProfileWeights(t *testing.T) {
	cases := []struct {
		name    string
		weights map[string]int64
		scores  string
		err     string
	}{
		{"defaults", nil, "LeastRequested=1 Spread=2 PreferNoSchedule=3 NodeAffinity=2", ""},
		{"one changed", map[string]int64{"Spread": 7}, "LeastRequested=1 Spread=7 PreferNoSchedule=3 NodeAffinity=2", ""},
		{"one off", map[string]int64{"Spread": 0}, "LeastRequested=1 PreferNoSchedule=3 NodeAffinity=2", ""},
		{"unknown", map[string]int64{"Luck": 1}, "", `there is no score "Luck"; there are LeastRequested, Spread, PreferNoSchedule, NodeAffinity, PodAffinity and TopologySpread`},
		{"negative", map[string]int64{"Spread": -1}, "", "weight -1 of score Spread: must be 0 to 1000"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := sched.DefaultProfile(c.weights)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, want %s", err, c.err)
				}
				return
			}
			var got []string
			for _, s := range p.Scores {
				got = append(got, s.Name()+"="+itoa(s.Weight))
			}
			if strings.Join(got, " ") != c.scores {
				t.Errorf("%v, want %s", got, c.scores)
			}
		})
	}
}

func TestPluginNamesDiffer(t *testing.T) {
	p, _ := sched.DefaultProfile(nil)
	seen := map[string]string{}
	for _, f := range p.Filters {
		if other, twice := seen[f.Name()]; twice {
			t.Errorf("%s and %s are both called %s", other, reflect.TypeOf(f), f.Name())
		}
		seen[f.Name()] = reflect.TypeOf(f).String()
	}
}

// A filter may be skipped only for a Pod that it passes everywhere.
func TestSkippedFiltersPass(t *testing.T) {
	p, _ := sched.DefaultProfile(nil)
	pods := []*framework.Pod{
		{}, {NodeName: "n1"}, {NodeSelector: []framework.Label{{Key: "a", Value: "b"}}}, {HostPorts: []framework.HostPort{80}}, {SpecLevel: 1},
		{NodeAffinity: framework.NewPod(wantsDisk("p")).NodeAffinity},
	}
	node := &framework.NodeInfo{Name: "n", Spec: &framework.NodeSpec{}, HostPorts: []framework.HostPort{80}}
	skipped := 0
	for _, f := range p.Filters {
		for i, pod := range pods {
			if s, ok := f.(framework.Skipper); ok && s.Skip(pod) {
				skipped++
				if r := f.Filter(pod, node); r.Code != framework.Fits {
					t.Errorf("%s skips pod %d, which it would refuse: %+v", f.Name(), i, r)
				}
			}
		}
	}
	if skipped != 25 {
		t.Errorf("%d skips, want 25: all but the one that each is about", skipped)
	}
}

// A score may be left out only for a Pod for which it is 0 everywhere.
func TestSkippedScoresAreNothing(t *testing.T) {
	p, _ := sched.DefaultProfile(nil)
	node := &framework.NodeInfo{Name: "n", Spec: &framework.NodeSpec{}}
	for _, s := range p.Scores {
		for _, pod := range []*framework.Pod{{}, framework.NewPod(wantsDisk("p"))} {
			if skipper, ok := s.Score.(framework.Skipper); ok && skipper.Skip(pod) && s.Score.Score(pod, node) != 0 {
				t.Errorf("%s is left out, and would not be 0", s.Name())
			}
		}
	}
}

package probe

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(d time.Duration) time.Time { return t0.Add(d) }

// probed is a container with these probes.
func probed(probes map[miniv1.ProbeKind]miniv1.Probe) *miniv1.Container {
	c := &miniv1.Container{Name: "c"}
	for kind, p := range probes {
		switch kind {
		case miniv1.ProbeStartup:
			c.StartupProbe = &p
		case miniv1.ProbeReadiness:
			c.ReadinessProbe = &p
		case miniv1.ProbeLiveness:
			c.LivenessProbe = &p
		}
	}
	return c
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		probe miniv1.Probe
		want  Settings
	}{
		"a native Pod's defaults": {miniv1.Probe{}, Settings{Period: 10 * time.Second, Timeout: time.Second, Successes: 1, Failures: 3}},
		"everything": {miniv1.Probe{InitialDelaySeconds: 1, PeriodSeconds: 2, TimeoutSeconds: 3, SuccessThreshold: 4, FailureThreshold: 5},
			Settings{Delay: time.Second, Period: 2 * time.Second, Timeout: 3 * time.Second, Successes: 4, Failures: 5}},
		"milliseconds": {miniv1.Probe{PeriodMilliseconds: 250}, Settings{Period: 250 * time.Millisecond, Timeout: time.Second, Successes: 1, Failures: 3}},
		"what an older version let in": {miniv1.Probe{InitialDelaySeconds: -1, PeriodSeconds: -2, TimeoutSeconds: -3, SuccessThreshold: -4, FailureThreshold: -5},
			Settings{Period: 10 * time.Second, Timeout: time.Second, Successes: 1, Failures: 3}},
	} {
		if diff := cmp.Diff(c.want, SettingsOf(&c.probe)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// believed is the verdict after results, told in another way: the last ones alike that were enough.
func believed(results []Result, successes, failures int, begin bool) bool {
	verdict := begin
	for end := range results {
		row, kind := 0, results[end]
		if kind == Unknown {
			continue
		}
		for i := end; i >= 0; i-- {
			if results[i] == Unknown {
				continue
			}
			if results[i] != kind {
				break
			}
			row++
		}
		if kind == Success && row >= successes {
			verdict = true
		}
		if kind == Failure && row >= failures {
			verdict = false
		}
	}
	return verdict
}

// Every series of seven results, for every probe and thresholds up to three.
func TestVerdicts(t *testing.T) {
	const length = 7
	for series := range 2187 { // 3 to the power of 7
		results := make([]Result, length)
		for i, rest := 0, series; i < length; i, rest = i+1, rest/3 {
			results[i] = Result(rest % 3)
		}
		for successes := 1; successes <= 3; successes++ {
			for failures := 1; failures <= 3; failures++ {
				playReadiness(t, results, successes, failures, false)
				playReadiness(t, results, successes, failures, true)
				if successes == 1 {
					playFatal(t, miniv1.ProbeLiveness, results, failures)
					playFatal(t, miniv1.ProbeStartup, results, failures)
				}
			}
		}
	}
}

func playReadiness(t *testing.T, results []Result, successes, failures int, was bool) {
	t.Helper()
	spec := probed(map[miniv1.ProbeKind]miniv1.Probe{miniv1.ProbeReadiness: {SuccessThreshold: int32(successes), FailureThreshold: int32(failures)}})
	c := NewContainer(spec, Facts{Ready: was}, t0, t0, 0)
	for i, r := range results {
		began := at(time.Duration(i) * 10 * time.Second)
		before := c.Facts()
		changed, _ := c.Take(miniv1.ProbeReadiness, r, began, began)
		want := Facts{Started: true, Ready: believed(results[:i+1], successes, failures, was)}
		if c.Facts() != want || changed != (want != before) {
			t.Fatalf("readiness, thresholds %d and %d, %v of %v, was %t: %+v, want %+v (changed: %t)", successes, failures, i, results, was, c.Facts(), want, changed)
		}
	}
}

// playFatal plays a probe that ends its container. What comes after the end is not asked for.
func playFatal(t *testing.T, kind miniv1.ProbeKind, results []Result, failures int) {
	t.Helper()
	c := NewContainer(probed(map[miniv1.ProbeKind]miniv1.Probe{kind: {FailureThreshold: int32(failures)}}), Facts{}, t0, t0, 0)
	row := 0
	for i, r := range results {
		if _, wanted := c.Due(kind); !wanted {
			return
		}
		began := at(time.Duration(i) * 10 * time.Second)
		c.Take(kind, r, began, began)
		switch r {
		case Success:
			row = 0
		case Failure:
			row++
		}
		over := row >= failures
		started := kind == miniv1.ProbeLiveness || r == Success
		want := Facts{Started: started, Ready: started}
		if over {
			want.Failed = kind
		}
		if c.Facts() != want {
			t.Fatalf("%s, threshold %d, %v of %v: %+v, want %+v", kind, failures, i, results, c.Facts(), want)
		}
		if _, wanted := c.Due(kind); wanted != (!over && (kind == miniv1.ProbeLiveness || !started)) {
			t.Fatalf("%s, threshold %d, after %v of %v: wanted %t", kind, failures, i, results, wanted)
		}
	}
}

// step is a run at a time, and when the next one is due.
type step struct {
	at     time.Duration
	result Result
	next   time.Duration
}

func play(t *testing.T, c *Container, kind miniv1.ProbeKind, steps ...step) {
	t.Helper()
	for i, s := range steps {
		c.Take(kind, s.result, at(s.at), at(s.at))
		if due, wanted := c.Due(kind); !wanted || !due.Equal(at(s.next)) {
			t.Fatalf("step %d: due after %s (wanted: %t), want %s", i, due.Sub(t0), wanted, s.next)
		}
	}
}

const ms, s = time.Millisecond, time.Second

func TestTimes(t *testing.T) {
	new := func(kind miniv1.ProbeKind, p miniv1.Probe, was Facts) *Container {
		return NewContainer(probed(map[miniv1.ProbeKind]miniv1.Probe{kind: p}), was, t0, t0, 500)
	}
	t.Run("a period after the beginning of the last", func(t *testing.T) {
		c := new(miniv1.ProbeLiveness, miniv1.Probe{PeriodSeconds: 2}, Facts{})
		play(t, c, miniv1.ProbeLiveness, step{0, Success, 2 * s}, step{2 * s, Failure, 4 * s}, step{4 * s, Unknown, 6 * s})
	})
	t.Run("what was missed is not made up for", func(t *testing.T) {
		c := new(miniv1.ProbeLiveness, miniv1.Probe{PeriodSeconds: 2}, Facts{})
		play(t, c, miniv1.ProbeLiveness, step{0, Success, 2 * s}, step{61 * s, Failure, 63 * s}, step{63 * s, Failure, 65 * s})
		if c.Facts().Failed != "" {
			t.Error("two failures are three")
		}
	})
	t.Run("who is not ready is asked in between", func(t *testing.T) {
		c := new(miniv1.ProbeReadiness, miniv1.Probe{PeriodSeconds: 1}, Facts{})
		play(t, c, miniv1.ProbeReadiness, step{0, Failure, 50 * ms}, step{50 * ms, Failure, 150 * ms}, step{150 * ms, Failure, 350 * ms},
			step{350 * ms, Failure, 750 * ms}, step{750 * ms, Failure, s}, step{s, Failure, 2 * s}, step{2 * s, Success, 3 * s},
			step{3 * s, Failure, 4 * s}, step{4 * s, Failure, 5 * s},
			step{5 * s, Failure, 5*s + 50*ms}, step{5*s + 50*ms, Failure, 5*s + 150*ms}, step{5*s + 150*ms, Success, 6 * s})
		if !c.Facts().Ready {
			t.Error("not ready")
		}
	})
	t.Run("in between, failures do not count", func(t *testing.T) {
		c := new(miniv1.ProbeStartup, miniv1.Probe{PeriodSeconds: 1, FailureThreshold: 2}, Facts{})
		play(t, c, miniv1.ProbeStartup, step{0, Failure, 50 * ms}, step{50 * ms, Failure, 150 * ms}, step{150 * ms, Failure, 350 * ms},
			step{350 * ms, Failure, 750 * ms}, step{750 * ms, Failure, s})
		if changed, tell := c.Take(miniv1.ProbeStartup, Failure, at(s), at(s)); !changed || !tell || c.Facts().Failed != miniv1.ProbeStartup {
			t.Errorf("%+v", c.Facts())
		}
	})
	t.Run("several successes are a period apart", func(t *testing.T) {
		c := new(miniv1.ProbeReadiness, miniv1.Probe{PeriodSeconds: 1, SuccessThreshold: 2}, Facts{})
		play(t, c, miniv1.ProbeReadiness, step{0, Failure, s}, step{s, Success, 2 * s}, step{2 * s, Success, 3 * s})
	})
	t.Run("after the delay", func(t *testing.T) {
		c := new(miniv1.ProbeReadiness, miniv1.Probe{InitialDelaySeconds: 7}, Facts{})
		if due, _ := c.Due(miniv1.ProbeReadiness); !due.Equal(at(7 * s)) {
			t.Errorf("due after %s", due.Sub(t0))
		}
	})
}

// The others begin when the container has started, each after its delay from the container's start.
func TestStartupFirst(t *testing.T) {
	c := NewContainer(probed(map[miniv1.ProbeKind]miniv1.Probe{
		miniv1.ProbeStartup: {PeriodSeconds: 1}, miniv1.ProbeReadiness: {InitialDelaySeconds: 2}, miniv1.ProbeLiveness: {InitialDelaySeconds: 60},
	}), Facts{}, t0, t0, 0)
	for _, kind := range []miniv1.ProbeKind{miniv1.ProbeReadiness, miniv1.ProbeLiveness} {
		if _, wanted := c.Due(kind); wanted {
			t.Errorf("%s is asked before the container has started", kind)
		}
	}
	if c.Facts() != (Facts{}) {
		t.Errorf("%+v", c.Facts())
	}
	c.Take(miniv1.ProbeStartup, Success, at(5*s), at(6*s))
	if _, wanted := c.Due(miniv1.ProbeStartup); wanted || c.Facts() != (Facts{Started: true}) {
		t.Errorf("asked again: %t, %+v", wanted, c.Facts())
	}
	for kind, want := range map[miniv1.ProbeKind]time.Duration{miniv1.ProbeReadiness: 6 * s, miniv1.ProbeLiveness: 60 * s} {
		if due, wanted := c.Due(kind); !wanted || !due.Equal(at(want)) {
			t.Errorf("%s is due after %s (%t), want %s", kind, due.Sub(t0), wanted, want)
		}
	}
	c.Take(miniv1.ProbeReadiness, Success, at(6*s), at(6*s))
	if c.Facts() != (Facts{Started: true, Ready: true}) {
		t.Errorf("%+v", c.Facts())
	}
}

// A new agent takes containers for what they were, and does not ask all at once.
func TestAdopted(t *testing.T) {
	spec := probed(map[miniv1.ProbeKind]miniv1.Probe{miniv1.ProbeStartup: {}, miniv1.ProbeReadiness: {}, miniv1.ProbeLiveness: {}})
	was := Facts{Started: true, Ready: true}
	c := NewContainer(spec, was, t0, at(3600*s), 250)
	if c.Facts() != was {
		t.Errorf("%+v", c.Facts())
	}
	for kind, wanted := range map[miniv1.ProbeKind]bool{miniv1.ProbeStartup: false, miniv1.ProbeReadiness: true, miniv1.ProbeLiveness: true} {
		if due, w := c.Due(kind); w != wanted || wanted && !due.Equal(at(3602*s+500*ms)) {
			t.Errorf("%s: %t after %s", kind, w, due.Sub(t0))
		}
	}
	for i := range 2 {
		c.Take(miniv1.ProbeReadiness, Failure, at(time.Duration(3610+10*i)*s), at(3620*s))
	}
	if !c.Facts().Ready {
		t.Error("not ready after two failures of three")
	}
	// One that an earlier agent began to end is ended, and not asked whether it lives.
	c = NewContainer(spec, Facts{Started: true, Failed: miniv1.ProbeLiveness}, t0, at(3600*s), 0)
	if _, wanted := c.Due(miniv1.ProbeLiveness); wanted || c.Facts().Failed != miniv1.ProbeLiveness {
		t.Errorf("%+v", c.Facts())
	}
	// One that began in the future, by a clock that was set back since, began now.
	c = NewContainer(spec, Facts{Started: true}, at(3600*s), t0, 999)
	if due, _ := c.Due(miniv1.ProbeReadiness); !due.Equal(t0) {
		t.Errorf("due after %s", due.Sub(t0))
	}
}

// People are told once of each row of failures.
func TestTold(t *testing.T) {
	for _, c := range []struct {
		failures int32
		results  string
		want     string
	}{
		{3, "fffff", "..t.."},
		{1, "fff", "t.."},
		{30, "fffff", "..t.."},
		{2, "fsffsff", "...t..t"},
		{3, "ffuuuufu", "....t.t."},
		{1, "uuusuuuu", "..t...t."},
	} {
		k := NewContainer(probed(map[miniv1.ProbeKind]miniv1.Probe{miniv1.ProbeReadiness: {FailureThreshold: c.failures}}), Facts{Ready: true}, t0, t0, 0)
		got := ""
		for i, r := range c.results {
			result := map[rune]Result{'s': Success, 'f': Failure, 'u': Unknown}[r]
			_, tell := k.Take(miniv1.ProbeReadiness, result, at(time.Duration(i)*10*s), at(0))
			got += map[bool]string{true: "t", false: "."}[tell]
		}
		if got != c.want {
			t.Errorf("%s with threshold %d: %s, want %s", c.results, c.failures, got, c.want)
		}
	}
	k := NewContainer(&miniv1.Container{}, Facts{}, t0, t0, 0)
	if changed, tell := k.Take(miniv1.ProbeLiveness, Failure, t0, t0); changed || tell || k.Facts() != (Facts{Started: true, Ready: true}) {
		t.Error("a container without probes")
	}
	if fmt.Sprint(Unknown, Success, Failure) != "unknown success failure" {
		t.Error("names of results")
	}
}

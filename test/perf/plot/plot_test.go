package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// elements counts the elements of well-formed XML.
func elements(t *testing.T, svg []byte) map[string]int {
	t.Helper()
	found := map[string]int{}
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if start, ok := token.(xml.StartElement); ok {
			found[start.Name.Local]++
		}
	}
}

func TestBars(t *testing.T) {
	svg := Bars("ratios", []Bar{{"P1 <create>", 8, 5}, {"P2", 0.25, 5}, {"P12", 2, 0}})
	found := elements(t, svg)
	if found["svg"] != 1 || found["rect"] != 4 {
		t.Errorf("elements %v; want a background and three bars", found)
	}
	text := string(svg)
	if strings.Count(text, mark) != 2 {
		t.Errorf("%d marks of targets, want 2", strings.Count(text, mark))
	}
	if strings.Count(text, `fill="`+behind) != 1 {
		t.Error("the one that misses its target does not stand out")
	}
	for _, bad := range []string{"NaN", "Inf", "width=\"-"} {
		if strings.Contains(text, bad) {
			t.Errorf("there is %s in it", bad)
		}
	}
}

func TestDistributions(t *testing.T) {
	svg := Distributions("starts", "ms", []Series{{"native", []float64{600, 500, 700}}, {"mini", []float64{100, 90}}})
	if found := elements(t, svg); found["path"] != 2 {
		t.Errorf("%v, want two curves", found)
	}
	for _, empty := range [][]Series{nil, {{"none", nil}}, {{"zero", []float64{0}}}} {
		svg := string(Distributions("starts", "ms", empty))
		elements(t, []byte(svg))
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("%v: not a number in it", empty)
		}
	}
}

// A curve rises to the top, and never goes back.
func TestSteps(t *testing.T) {
	got := steps([]float64{100, 10}, scale{low: 1, high: 100, from: 0, to: 200}, 300, 100)
	if want := "M0.0 300.0 H100.0 V250.0 H200.0 V200.0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestScale(t *testing.T) {
	s := scale{low: 0.5, high: 50, from: 100, to: 300}
	if s.at(0.5) != 100 || s.at(50) != 300 || math.Abs(s.at(5)-200) > 1e-9 || s.at(1000) != 300 || s.at(0) != 100 {
		t.Errorf("places %v %v %v %v %v", s.at(0.5), s.at(50), s.at(5), s.at(1000), s.at(0))
	}
	if ticks := s.ticks(); len(ticks) != 7 || ticks[0] != 0.5 || ticks[6] != 50 {
		t.Errorf("ticks %v", ticks)
	}
}

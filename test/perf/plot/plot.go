// Package plot draws the two charts of a measurement as SVG: how many times better each metric is, and how the latencies of
// starts are distributed. It is pure, and small enough not to need a library.
//
// Both charts have a logarithmic scale: a ratio of 1/2 looks as bad as one of 2 looks good, and a distribution's shape can be
// read for both sides though one is many times slower.
package plot

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

const (
	width                 = 940
	left, right           = 400, 60
	top, bottom           = 40, 50
	rowHeight             = 24
	curveHeight           = 420
	axis, grid, ink, mark = "#555", "#e4e4e4", "#222", "#c0392b"
)

// colors of series, and of bars that reach their target or have none, and of those that do not.
var (
	colors       = []string{"#888888", "#1f6feb", "#b0b0b0", "#7fb0f5"}
	good, behind = "#1f6feb", "#9db8dd"
)

// Bar is one ratio; Target is zero where none is asked for.
type Bar struct {
	Label         string
	Value, Target float64
}

// Series is one distribution.
type Series struct {
	Label  string
	Values []float64
}

// scale maps values to places, logarithmically.
type scale struct{ low, high, from, to float64 }

func (s scale) at(v float64) float64 {
	v = min(max(v, s.low), s.high)
	return s.from + (s.to-s.from)*math.Log(v/s.low)/math.Log(s.high/s.low)
}

// ticks are 1, 2 and 5 times the powers of ten within the scale.
func (s scale) ticks() []float64 {
	var out []float64
	for exponent := math.Floor(math.Log10(s.low)); exponent <= math.Ceil(math.Log10(s.high)); exponent++ {
		for _, digit := range []float64{1, 2, 5} {
			if v := digit * math.Pow(10, exponent); v >= s.low && v <= s.high {
				out = append(out, v)
			}
		}
	}
	return out
}

type drawing struct{ strings.Builder }

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *drawing) text(x, y float64, anchor, text string) {
	d.add(`<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`, x, y, anchor, ink, html.EscapeString(text))
}

func (d *drawing) line(x1, y1, x2, y2 float64, color string) {
	d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`, x1, y1, x2, y2, color)
}

func begin(height int, title string) *drawing {
	d := &drawing{}
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`,
		width, height, width, height)
	d.add(`<rect width="100%%" height="100%%" fill="white"/>`)
	d.text(width/2, 22, "middle", title)
	return d
}

func (d *drawing) end() []byte { d.add("</svg>"); return []byte(d.String()) }

// Bars draws ratios, each with a mark at its target.
func Bars(title string, bars []Bar) []byte {
	height := top + bottom + rowHeight*len(bars)
	s := scale{low: 0.5, high: 2, from: left, to: width - right}
	for _, bar := range bars {
		s.high = max(s.high, 1.2*bar.Value, 1.2*bar.Target)
		if bar.Value > 0 {
			s.low = min(s.low, bar.Value/1.2)
		}
	}
	d := begin(height, title)
	base := float64(height - bottom)
	for _, v := range s.ticks() {
		d.line(s.at(v), top, s.at(v), base, grid)
		d.text(s.at(v), base+16, "middle", fmt.Sprintf("%g×", v))
	}
	for i, bar := range bars {
		y := float64(top + rowHeight*i)
		from, to := min(s.at(1), s.at(bar.Value)), max(s.at(1), s.at(bar.Value))
		color := good
		if bar.Value < bar.Target {
			color = behind
		}
		d.text(left-8, y+16, "end", bar.Label)
		d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>`, from, y+4, to-from, rowHeight-8, color)
		d.text(max(to, s.at(max(bar.Target, s.low)))+4, y+16, "start", fmt.Sprintf("%.1f×", bar.Value))
		if bar.Target > 0 {
			d.line(s.at(bar.Target), y+2, s.at(bar.Target), y+rowHeight-2, mark)
		}
	}
	d.line(s.at(1), top, s.at(1), base, axis)
	d.text(width/2, float64(height-10), "middle", "times better than native (median); red: target")
	return d.end()
}

// Distributions draws, for each series, the share of values up to a value.
func Distributions(title, unit string, series []Series) []byte {
	const near = 60
	s := scale{low: math.Inf(1), from: near, to: width - right}
	for _, one := range series {
		for _, v := range one.Values {
			s.low, s.high = min(s.low, v), max(s.high, v)
		}
	}
	if s.high <= 0 || s.low <= 0 {
		s.low, s.high = 1, 10
	}
	s.low, s.high = s.low/1.2, s.high*1.2
	d := begin(curveHeight, title)
	base := float64(curveHeight - bottom)
	height := base - top
	for _, v := range s.ticks() {
		d.line(s.at(v), top, s.at(v), base, grid)
		d.text(s.at(v), base+16, "middle", fmt.Sprintf("%g", v))
	}
	for share := 0.0; share <= 1; share += 0.25 {
		d.line(near, base-share*height, width-right, base-share*height, grid)
		d.text(near-6, base-share*height+4, "end", fmt.Sprintf("%.0f %%", 100*share))
	}
	for i, one := range series {
		color := colors[i%len(colors)]
		d.add(`<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`, steps(one.Values, s, base, height), color)
		y := float64(top + 18*i + 14)
		d.add(`<rect x="%d" y="%.1f" width="14" height="4" fill="%s"/>`, near+10, y-5, color)
		d.text(near+30, y, "start", one.Label)
	}
	d.text(width/2, float64(curveHeight-10), "middle", unit)
	return d.end()
}

// steps is the path of a distribution: up by one share at each value.
func steps(values []float64, s scale, base, height float64) string {
	var b strings.Builder
	sorted := slices.Sorted(slices.Values(values))
	fmt.Fprintf(&b, "M%.1f %.1f", s.from, base)
	for i, v := range sorted {
		fmt.Fprintf(&b, " H%.1f V%.1f", s.at(v), base-height*float64(i+1)/float64(len(sorted)))
	}
	return b.String()
}

package report

import (
	"fmt"
	"slices"
	"strings"
)

// Breakdown is a table of what a metric is made of: the medians of samples whose key is the metric's, a slash and the name of a
// part. Parts that neither side has anything of are left out; it is empty where there are none.
func (r *Result) Breakdown(m Metric, limits string) string {
	var lines []string
	for _, part := range r.parts(m.Key, limits) {
		native, mini := r.part(m, part, Native, limits), r.part(m, part, Mini, limits)
		if native != "–" || mini != "–" {
			lines = append(lines, fmt.Sprintf("| %s | %s | %s |\n", part, native, mini))
		}
	}
	if lines == nil {
		return ""
	}
	head := fmt.Sprintf("%s %s, %s, limits %s:\n\n| part | native p50 | mini p50 |\n|---|---|---|\n", m.ID, m.Title, m.Unit, limits)
	return head + strings.Join(lines, "")
}

func (r *Result) parts(key, limits string) []string {
	var found []string
	for _, s := range r.Samples {
		if part, ok := strings.CutPrefix(s.Metric, key+"/"); ok && s.Limits == limits {
			found = append(found, part)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (r *Result) part(m Metric, part, side, limits string) string {
	const nothing = 0.0005 // which would be printed as 0.000
	if median := Percentile(r.Values(m.Key+"/"+part, side, limits), 50); median >= nothing || median <= -nothing {
		return number(median)
	}
	return "–"
}

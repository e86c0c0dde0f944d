package report

import (
	"fmt"
	"slices"
	"strings"
)

// Markdown is the table, with what it was measured on and under above it, and every failure below.
func (r *Result) Markdown(metrics []Metric) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d rounds. ", r.Taken.UTC().Format("2006-01-02 15:04 UTC"), r.Rounds)
	for _, name := range SortedKeys(r.Machine) {
		fmt.Fprintf(&b, "%s: %s. ", name, r.Machine[name])
	}
	b.WriteString("\n\n")
	for _, limits := range SortedKeys(r.Settings) {
		fmt.Fprintf(&b, "Limits %q: %s.\n\n", limits, strings.Join(r.Settings[limits], "; "))
	}
	b.WriteString(Table(r.Rows(metrics)))
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "\nFailed: %s, %s, limits %s, round %d: %s\n", strings.Join(f.Metrics, ", "), f.Side, f.Limits, f.Round+1, f.Reason)
	}
	return b.String()
}

// Table is the rows alone.
func Table(rows []Row) string {
	var b strings.Builder
	b.WriteString("| # | metric | unit | limits | native p50 (p99) | mini p50 (p99) | n | ratio p50 (p99) | target | met |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", row.Metric.ID, row.Metric.Title, row.Metric.Unit,
			row.Limits, row.side(Native), row.side(Mini), row.counts(), row.ratio(), row.Metric.target(), row.Verdict())
	}
	return b.String()
}

func (row Row) side(name string) string {
	s, ok := row.Sides[name]
	switch {
	case !ok:
		return "–"
	case s.N == 1:
		return number(s.P50)
	}
	return fmt.Sprintf("%s (%s)", number(s.P50), number(s.P99))
}

func (row Row) counts() string {
	native, mini := row.Sides[Native].N, row.Sides[Mini].N
	if native == mini || native == 0 {
		return fmt.Sprint(mini)
	}
	return fmt.Sprintf("%d, %d", native, mini)
}

func (row Row) ratio() string {
	switch {
	case row.Refused != "":
		return "refused: " + short(row.Refused)
	case row.Ratio == 0:
		return "–"
	case row.Sides[Native].N == 1 && row.Sides[Mini].N == 1:
		return number(row.Ratio) + "×"
	}
	return fmt.Sprintf("%s× (%s×)", number(row.Ratio), number(row.Ratio99))
}

func (m Metric) target() string {
	switch {
	case m.Target.Times > 0:
		return fmt.Sprintf("≥ %g×", m.Target.Times)
	case m.Target.Bound == nil:
		return ""
	case m.Better == Higher:
		return fmt.Sprintf("≥ %g", *m.Target.Bound)
	}
	return fmt.Sprintf("≤ %g", *m.Target.Bound)
}

// number has three digits, or all before the point.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// short is text for a cell of a table.
func short(text string) string {
	text = strings.NewReplacer("|", "/", "\n", " ").Replace(text)
	const most = 120
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// SortedKeys are the keys of a map in order.
func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

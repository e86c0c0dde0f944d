// Package report judges what the campaign of faults saw, and makes the table of it. It is pure.
//
// The idea: a fault promises a limit for each thing that is counted, mostly zero, or nothing. A count above its limit breaks the
// promise; the row says so, and the run fails. A fault that could not be carried out promises nothing and proves nothing: it fails too.
// A fault that was not run is a row as well, with the reason, so that nobody takes silence for success.
package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Row is one fault, as often as it was done.
type Row struct {
	Fault string `json:"fault"`
	// Where it was done: on which kind of cluster.
	Where string `json:"where"`
	// Date of the run, as in 2026-05-31.
	Date  string `json:"date,omitempty"`
	Tried int    `json:"tried"`
	// Restarted are containers that began anew, Lost MiniPods that were deleted or do not run any more, Doubles containers that
	// lived twice at once. Only what nobody touched counts as restarted or lost.
	Restarted int `json:"restarted"`
	Lost      int `json:"lost"`
	Doubles   int `json:"doubles"`
	// Wrong is for how long EndpointSlices were not what they should be, Silent for how long the virtual IP did not answer,
	// or with somebody it should not.
	Wrong  time.Duration `json:"wrong"`
	Silent time.Duration `json:"silent"`
	Leaks  []string      `json:"leaks,omitempty"`
	// Promise is what the fault may do at most.
	Promise Promise `json:"promise"`
	// Failed says why the fault, or what should follow it, did not happen. NotRun says why nobody tried.
	Failed string   `json:"failed,omitempty"`
	NotRun string   `json:"notRun,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// Promise is the most that each count may be. Any promises nothing.
type Promise struct {
	Restarted int           `json:"restarted"`
	Lost      int           `json:"lost"`
	Doubles   int           `json:"doubles"`
	Wrong     time.Duration `json:"wrong"`
	Silent    time.Duration `json:"silent"`
	Leaks     int           `json:"leaks"`
}

// Any is the limit of what nothing is promised of.
const Any = -1

// count is one cell: what was seen, and what was promised.
type count struct {
	name    string
	seen    int64
	promise int64
	text    func(int64) string
}

func (r Row) counts() []count {
	number := func(n int64) string { return fmt.Sprint(n) }
	seconds := func(n int64) string {
		if n == 0 {
			return "0"
		}
		return fmt.Sprintf("%.1f s", time.Duration(n).Seconds())
	}
	return []count{
		{"containers restarted", int64(r.Restarted), int64(r.Promise.Restarted), number},
		{"MiniPods lost", int64(r.Lost), int64(r.Promise.Lost), number},
		{"doubles", int64(r.Doubles), int64(r.Promise.Doubles), number},
		{"endpoints wrong", int64(r.Wrong), int64(r.Promise.Wrong), seconds},
		{"service silent", int64(r.Silent), int64(r.Promise.Silent), seconds},
		{"leaks", int64(len(r.Leaks)), int64(r.Promise.Leaks), number},
	}
}

func (c count) broken() bool { return c.promise >= 0 && c.seen > c.promise }

// cell shows what was seen; what was promised stands beside it, unless that is the zero that is there.
func (c count) cell() string {
	switch text := c.text(c.seen); {
	case c.broken():
		return fmt.Sprintf("**%s** (promised: %s)", text, c.text(c.promise))
	case c.promise < 0:
		return text + " (not promised)"
	case c.promise > 0:
		return fmt.Sprintf("%s (≤ %s)", text, c.text(c.promise))
	default:
		return text
	}
}

// Broken says which promises a row breaks, each in a few words.
func (r Row) Broken() []string {
	if r.NotRun != "" {
		return nil
	}
	var broken []string
	if r.Failed != "" {
		broken = append(broken, r.Failed)
	}
	for _, c := range r.counts() {
		if c.broken() {
			broken = append(broken, fmt.Sprintf("%s: %s, promised %s", c.name, c.text(c.seen), c.text(c.promise)))
		}
	}
	return broken
}

// Markdown is the table of all rows, and after it what there is to say of single ones.
func Markdown(rows []Row) string {
	var b strings.Builder
	b.WriteString("| fault | on | tried | containers restarted | MiniPods lost | doubles | endpoints wrong for | service silent for | leaks | run on |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		if r.NotRun != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | | | | | | | |\n", r.Fault, r.Where, r.NotRun)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %d |", r.Fault, r.Where, r.Tried)
		for _, c := range r.counts() {
			fmt.Fprintf(&b, " %s |", c.cell())
		}
		fmt.Fprintf(&b, " %s |\n", r.Date)
	}
	for _, r := range rows {
		for _, note := range r.notes() {
			fmt.Fprintf(&b, "\n- **%s**: %s", r.Fault, note)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// maxLeaks are named in a note.
const maxLeaks = 8

func (r Row) notes() []string {
	notes := slices.Clone(r.Notes)
	if r.Failed != "" {
		notes = append(notes, "FAILED: "+r.Failed)
	}
	if len(r.Leaks) > 0 {
		notes = append(notes, fmt.Sprintf("left behind: `%s`", strings.Join(r.Leaks[:min(maxLeaks, len(r.Leaks))], "`, `")))
	}
	return notes
}

// Merge puts newer rows in the place of older ones of the same fault and cluster, and the rest at the end.
func Merge(old, newer []Row) []Row {
	out := slices.Clone(old)
	for _, row := range newer {
		same := func(r Row) bool { return r.Fault == row.Fault && r.Where == row.Where }
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i] = row
		} else {
			out = append(out, row)
		}
	}
	return out
}

// Between puts text between two lines of a document, which stay.
func Between(document, begin, end, text string) (string, error) {
	head, rest, found := strings.Cut(document, begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", fmt.Errorf("the document has no %q followed by %q", begin, end)
	}
	return head + begin + "\n" + text + end + tail, nil
}

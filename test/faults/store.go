package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"miniplane.dev/miniplane/test/faults/report"
)

// The table in the document stands between these lines.
const (
	tableBegins = "<!-- table: written by make faults -->"
	tableEnds   = "<!-- end of the table -->"
)

// save puts the rows of a run into the file of all rows, and the table of these into the document.
func save(o options, rows []report.Row) error {
	all, err := load(o.store)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all = report.Merge(all, rows)
	if all == nil {
		all = []report.Row{}
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.store), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(o.store, append(data, '\n'), 0o644); err != nil {
		return err
	}
	if o.doc == "" {
		return nil
	}
	return document(o.doc, complete(all))
}

// load reads a file of rows.
func load(path string) (rows []report.Row, err error) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &rows)
	}
	return rows, err
}

func document(path string, rows []report.Row) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := report.Between(string(data), tableBegins, tableEnds, report.Markdown(rows))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// complete puts rows into the order of the faults. A fault without a row was not run, and says so.
func complete(rows []report.Row) []report.Row {
	var out []report.Row
	for _, f := range faults() {
		for _, on := range f.on {
			i := slices.IndexFunc(rows, func(r report.Row) bool { return r.Fault == f.title && r.Where == on })
			if i >= 0 {
				out = append(out, rows[i])
				continue
			}
			why := f.notRun
			if why == "" {
				why = "not run yet"
			}
			out = append(out, report.Row{Fault: f.title, Where: on, NotRun: why})
		}
	}
	return out
}

// listing is a line for each fault.
func listing(all []fault) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%-16s %-12s × %-3d %s\n", f.key, strings.Join(f.on, ","), f.times, f.title)
	}
	return b.String()
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"miniplane.dev/miniplane/test/perf/plot"
	"miniplane.dev/miniplane/test/perf/report"
)

// save writes the raw figures, the table and the plots.
func save(dir string, r *report.Result, metrics []report.Metric) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"latest.json": append(data, '\n'),
		"latest.md":   []byte(page(r, metrics)),
	}
	if bars := bars(r.Rows(metrics)); len(bars) > 0 {
		files["ratios.svg"] = plot.Bars("MiniPods against native Pods, the same machine, the same run", bars)
	}
	for name, chart := range map[string]struct{ key, title string }{
		"start.svg": {"start.latency", "create → Running, one at a time"},
		"burst.svg": {"burst.latency", "create → Running in a burst"},
	} {
		if series := series(r, chart.key); len(series) > 0 {
			files[name] = plot.Distributions(chart.title, "ms", series)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// page is the table with what its rows are made of.
func page(r *report.Result, metrics []report.Metric) string {
	var text strings.Builder
	text.WriteString("# The last figures\n\nWritten by `make bench`; see [how it is measured](../performance.md).\n\n" + r.Markdown(metrics))
	for _, row := range r.Rows(metrics) {
		if parts := r.Breakdown(row.Metric, row.Limits); parts != "" {
			text.WriteString("\n" + parts)
		}
	}
	return text.String()
}

// bars are the rows that have a ratio.
func bars(rows []report.Row) []plot.Bar {
	var out []plot.Bar
	for _, row := range rows {
		if row.Ratio > 0 {
			label := fmt.Sprintf("%s %s (%s)", row.Metric.ID, row.Metric.Title, row.Limits)
			out = append(out, plot.Bar{Label: label, Value: row.Ratio, Target: row.Metric.Target.Times})
		}
	}
	return out
}

func series(r *report.Result, key string) []plot.Series {
	var out []plot.Series
	for _, limits := range always {
		for _, side := range r.Sides {
			if values := r.Values(key, side, limits); len(values) > 0 {
				out = append(out, plot.Series{Label: side + ", limits " + limits, Values: values})
			}
		}
	}
	return out
}

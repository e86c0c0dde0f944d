// Command metrics writes the table of the metrics of miniplane's programs into docs/metrics.md, from the metrics themselves.
//
// The idea: every package that measures something registers it in the one registry when it is loaded. This program loads them all,
// and asks the registry what there is; so the page can forget none.
package main

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"miniplane.dev/miniplane/hack/page"

	// What registers the manager's metrics, and the agent's.
	_ "miniplane.dev/miniplane/controllers"
	_ "miniplane.dev/miniplane/nodeagent"
)

const (
	document = "docs/metrics.md"
	marker   = "<!-- metrics: written by hack/metrics -->"
	ours     = "miniplane_"
)

// metric is one line of the table.
type metric struct {
	name, help string
	labels     []string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

func run() error {
	all, err := registered()
	if err != nil {
		return err
	}
	return page.Write(document, marker, table(all))
}

// registered lists what is registered and ours, by name.
func registered() ([]metric, error) {
	collector, ok := metrics.Registry.(prometheus.Collector)
	if !ok {
		return nil, fmt.Errorf("the registry is a %T, which does not tell what it has", metrics.Registry)
	}
	descriptions := make(chan *prometheus.Desc)
	go func() { collector.Describe(descriptions); close(descriptions) }()
	var out []metric
	for d := range descriptions {
		m, err := parse(d.String())
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(m.name, ours) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

// description is how the library prints a metric's: it has no other way to read it.
var description = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: ("(?:[^"\\]|\\.)*"), unit: "[^"]*", constLabels: \{.*\}, variableLabels: \{(.*)\}\}$`)

func parse(text string) (metric, error) {
	parts := description.FindStringSubmatch(text)
	if parts == nil {
		return metric{}, fmt.Errorf("cannot read %q: the library prints metrics in another way now", text)
	}
	m := metric{name: parts[1]}
	if _, err := fmt.Sscanf(parts[2], "%q", &m.help); err != nil {
		return m, fmt.Errorf("help of %s: %w", m.name, err)
	}
	if parts[3] != "" {
		m.labels = strings.Split(parts[3], ",")
	}
	return m, nil
}

// table has one line for each metric.
func table(all []metric) string {
	var out strings.Builder
	out.WriteString("| metric | labels | is |\n|---|---|---|\n")
	for _, m := range all {
		labels := ""
		if len(m.labels) > 0 {
			labels = "`" + strings.Join(m.labels, "`, `") + "`"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", m.name, labels, strings.ReplaceAll(m.help, "|", `\|`))
	}
	return out.String()
}

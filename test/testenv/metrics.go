package testenv

import (
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Counted is what a program's metric of that name says: a counter's or a gauge's value, how often a histogram observed. With values, only
// where a label has each of them.
func Counted(t *testing.T, name string, values ...string) (n float64) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			if !slices.ContainsFunc(values, func(value string) bool { return !slices.Contains(labels, value) }) {
				n += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return n
}

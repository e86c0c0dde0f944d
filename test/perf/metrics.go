package main

import (
	"fmt"
	"slices"
	"strings"

	"miniplane.dev/miniplane/test/perf/report"
)

// metrics are the rows of the table, in its order. P numbers and targets are the project's.
var metrics = []report.Metric{
	{Key: "start.latency", ID: "P1", Title: "create → Running, one at a time, image present", Unit: "ms", Target: report.Times(5)},
	{Key: "application.latency", ID: "P1", Title: "create → Ready, one at a time, of an application with all that it needs", Unit: "ms", Target: report.Times(6)},
	{Key: "burst.rate", ID: "P2", Title: "burst on one node", Unit: "pods/s", Better: report.Higher, Target: report.Times(5)},
	{Key: "burst.latency", ID: "P2", Title: "burst: create → Running of each", Unit: "ms"},
	{Key: "burst.cpu", ID: "P4", Title: "CPU per start in a burst, programs of the node", Unit: "s", Target: report.Times(5)},
	{Key: "burst.cpu.machine", ID: "P4", Title: "CPU per start in a burst, whole machine", Unit: "s"},
	{Key: "fill.pods", ID: "P5", Title: "pods running on this node", Unit: "pods", Better: report.Higher, Target: report.Bound(500)},
	{Key: "burst.memory", ID: "P6", Title: "memory per pod beyond the workload", Unit: "MB", Target: report.Times(2)},
	{Key: "kill.latency", ID: "P7", Title: "container killed → restarted and visible", Unit: "ms", Target: report.Times(8)},
	{Key: "delete.process", ID: "P8", Title: "burst deleted, grace 0: last process gone", Unit: "s", Target: report.Times(5)},
	{Key: "delete.record", ID: "P8", Title: "burst deleted, grace 0: last container record gone", Unit: "s", Target: report.Times(10)},
	{Key: "hollow.rate", ID: "P10", Title: "bound pods per second, nodes without machines", Unit: "pods/s", Better: report.Higher, Target: report.Times(2)},
	{Key: "hollow.scale", ID: "P11", Title: "scale of a replica set from 0: all there", Unit: "s", Target: report.Times(1.2)},
	{Key: "hollow.scale.bound", ID: "P11", Title: "scale of a replica set from 0: all bound", Unit: "s"},
	{Key: "life.writes", ID: "P12", Title: "API writes per life without Events", Unit: "writes", Target: report.Bound(5)},
	{Key: "life.events", ID: "P12", Title: "Events written per life", Unit: "Events"},
	{Key: "rest.memory", ID: "P16", Title: "memory at rest of the programs that do the work", Unit: "MB", Target: report.Times(3)},
	{Key: "crash.latency", ID: "P17", Title: "full node, agent or kubelet SIGKILLed → next Pod Running", Unit: "s", Target: report.Bound(2)},
	{Key: "crash.own", ID: "P17", Title: "the same from the start of the new process", Unit: "s"},
	{Key: "crash.restarts", ID: "P17", Title: "containers restarted by that", Unit: "containers", Alone: true, Target: report.Bound(0)},
	{Key: "probe.http.cpu", ID: "P21", Title: "CPU per HTTP probe, programs of the node", Unit: "ms", Target: report.Times(5)},
	{Key: "probe.exec.cpu", ID: "P21", Title: "CPU per exec probe, programs of the node", Unit: "ms", Target: report.Times(3)},
}

// choose finds the measurements that give the wanted figures, such as P1,P2; all for an empty string.
func choose(only string) ([]measurement, error) {
	if only == "" {
		return measurements, nil
	}
	var out []measurement
	ids := strings.Split(only, ",")
	for _, id := range ids {
		if !slices.ContainsFunc(metrics, func(m report.Metric) bool { return m.ID == id }) {
			return nil, fmt.Errorf("there is no figure %q; there are %s", id, strings.Join(allIDs(), ", "))
		}
	}
	for _, m := range measurements {
		if slices.ContainsFunc(metrics, func(x report.Metric) bool { return m.gives(x.Key) && slices.Contains(ids, x.ID) }) {
			out = append(out, m)
		}
	}
	return out, nil
}

func allIDs() []string {
	var ids []string
	for _, m := range metrics {
		ids = append(ids, m.ID)
	}
	return slices.Compact(ids)
}

// metricsOf are the rows of a table of these measurements.
func metricsOf(wanted []measurement) []report.Metric {
	return slices.DeleteFunc(slices.Clone(metrics), func(m report.Metric) bool {
		return !slices.ContainsFunc(wanted, func(x measurement) bool { return x.gives(m.Key) })
	})
}

// complete is nil when every measurement gave every figure that it should, on every side: the yardstick works.
func complete(r *report.Result, wanted []measurement, limits []string) error {
	for _, m := range wanted {
		for _, l := range limits {
			for _, key := range m.keys {
				for _, side := range r.Sides {
					if m.under(l) && len(r.Values(key, side, l)) == 0 {
						return fmt.Errorf("%s of %s under limits %s was not measured, and nothing said why", key, side, l)
					}
				}
			}
		}
	}
	return nil
}

package main

import (
	"context"

	"miniplane.dev/miniplane/test/perf/procs"
)

// atRest is the memory of the programs that do a side's work, with nothing of it to do (P16): of each program one process,
// though a cluster may run several, as it would of Kubernetes' own.
func atRest(_ context.Context, b *bench, s side, _ int) (samples, error) {
	table, err := b.procs.Read()
	if err != nil {
		return nil, err
	}
	found, total := samples{}, 0.0
	for _, program := range s.programs() {
		largest := 0.0
		for _, p := range table.Of(program) {
			pss, err := b.procs.PSS(p.PID)
			if err != nil {
				return nil, err
			}
			largest = max(largest, pss)
		}
		if largest == 0 {
			return nil, notRunning(program)
		}
		found["rest.memory/"+program] = []float64{largest / megabyte}
		total += largest
	}
	found["rest.memory"] = []float64{total / megabyte}
	for _, program := range []string{procs.Containerd, "etcd", "kube-apiserver"} { // for both sides, and for the record
		memory, err := b.procs.Memory(table, program)
		if err != nil {
			return nil, err
		}
		found["rest.memory/"+program] = []float64{memory[program] / megabyte}
	}
	return found, nil
}

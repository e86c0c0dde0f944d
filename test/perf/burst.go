package main

import (
	"context"
	"time"

	"miniplane.dev/miniplane/test/perf/procs"
)

// burst starts many Pods at once (P2), and accounts for the CPU time (P4) and the memory (P6) that they cost.
func burst(ctx context.Context, b *bench, s side, round int) (samples, error) {
	t, err := b.track(ctx, s)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := settle(ctx); err != nil {
		return nil, err
	}
	account, err := b.open(ctx, s)
	if err != nil {
		return nil, err
	}
	names := podNames(b.burst, "burst-%s-%d", b.limits, round)
	begin := time.Now()
	sent, err := b.start(ctx, s, names, len(names), 1)
	if err != nil {
		return nil, err
	}
	if err := t.until(ctx, 5*time.Minute, "burst", func() bool { return t.counts.running == len(names) }); err != nil {
		return nil, err
	}
	last := t.latest(names, func(p seen) time.Time { return p.running })
	found := samples{"burst.rate": {float64(len(names)) / last.Sub(begin).Seconds()}}
	for _, name := range names {
		found["burst.latency"] = append(found["burst.latency"], milliseconds(t.at(name).running.Sub(sent[name])))
	}
	if err := account.close(ctx, found, float64(len(names))); err != nil {
		return nil, err
	}
	return found, b.clear(ctx, s, t)
}

// account says what was used from its opening to its closing, beyond what an idle cluster uses.
type account struct {
	b *bench
	s side
	reading
	idle   map[string]float64 // CPU seconds per second, by program
	memory map[string]float64
}

// machine is the key of the whole machine beside the programs.
const machine = "machine"

// reading is the state of all accounts at one moment.
type reading struct {
	at    time.Time
	busy  float64
	table procs.Table
}

func (b *bench) read() (r reading, err error) {
	if r.table, err = b.procs.Read(); err != nil {
		return r, err
	}
	r.busy, err = b.procs.Busy()
	r.at = time.Now()
	return r, err
}

// since is the CPU time used between two readings, by program and by the machine, and the time between them in seconds.
func (r reading) since(before reading) (cpu map[string]float64, seconds float64) {
	cpu = r.table.CPUSince(before.table)
	cpu[machine] = r.busy - before.busy
	return cpu, r.at.Sub(before.at).Seconds()
}

// open measures what the cluster uses while nothing happens, right before something does.
func (b *bench) open(ctx context.Context, s side) (*account, error) {
	first, err := b.read()
	if err != nil {
		return nil, err
	}
	if err := settle(ctx); err != nil {
		return nil, err
	}
	a := &account{b: b, s: s}
	if a.reading, err = b.read(); err != nil {
		return nil, err
	}
	cpu, seconds := a.since(first)
	a.idle = map[string]float64{}
	for program, used := range cpu {
		a.idle[program] = used / seconds
	}
	if a.memory, err = b.procs.Memory(a.table, held(s)...); err != nil {
		return nil, err
	}
	a.reading, err = b.read() // looking at the memory was work too
	return a, err
}

// held are the programs whose memory a side's Pods cost, beyond what they themselves run.
func held(s side) []string { return append(s.node(), procs.Containerd) }

// close adds what n starts have used, each. What comes after a start, such as Events, is waited for.
func (a *account) close(ctx context.Context, found samples, n float64) error {
	if err := settle(ctx); err != nil {
		return err
	}
	now, err := a.b.read()
	if err != nil {
		return err
	}
	cpu, seconds := now.since(a.reading)
	for program, used := range cpu {
		found["burst.cpu/"+program] = []float64{max(0, used-a.idle[program]*seconds) / n}
	}
	total := 0.0
	for _, program := range onNode(a.s) {
		if one := found["burst.cpu/"+program]; one != nil {
			total += one[0]
		}
	}
	found["burst.cpu"], found["burst.cpu.machine"] = []float64{total}, found["burst.cpu/"+machine]
	memory, err := a.b.procs.Memory(now.table, held(a.s)...)
	if err != nil {
		return err
	}
	grown := 0.0
	for _, program := range held(a.s) {
		one := (memory[program] - a.memory[program]) / n / megabyte
		found["burst.memory/"+program] = []float64{one}
		grown += one
	}
	found["burst.memory"] = []float64{grown}
	return nil
}

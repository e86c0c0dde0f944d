package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/perf/procs"
	"miniplane.dev/miniplane/test/perf/report"
)

// fullNode fills the node with as many Pods as it takes (P5), and then, round by round, kills what looks after them and waits
// for one Pod more to run (P17): by then the new process has found and adopted everything. Each round adds that one, and
// with the last the node is full.
func fullNode(ctx context.Context, b *bench, s side, _ int) (samples, error) {
	t, err := b.track(ctx, s)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	room, others, err := b.room(ctx, s)
	if err != nil {
		return nil, err
	}
	if room <= b.rounds {
		return nil, fmt.Errorf("the node has room for %d Pods only", room)
	}
	names := podNames(room-b.rounds, "full")
	if _, err := b.start(ctx, s, names, 16, 1); err != nil {
		return nil, err
	}
	if err := t.until(ctx, 15*time.Minute, "filling the node", func() bool { return t.counts.running == len(names) }); err != nil {
		return nil, err
	}
	found := samples{}
	for round := range b.rounds {
		if err := b.crash(ctx, s, t, round, found); err != nil {
			return nil, err
		}
	}
	if err := b.healthy(ctx); err != nil {
		return nil, fmt.Errorf("with %d Pods: %w", room, err)
	}
	found["fill.pods"] = []float64{float64(t.counts.running + others)}
	return found, b.clear(ctx, s, t)
}

// room is how many Pods of a side the node takes beside the others of the kind that are there.
func (b *bench) room(ctx context.Context, s side) (room, others int, err error) {
	var allocatable corev1.ResourceList
	key := client.ObjectKey{Name: b.node}
	if s.name() == report.Native {
		var node corev1.Node
		err = b.api.Get(ctx, key, &node)
		allocatable = node.Status.Allocatable
	} else {
		var node miniv1.MiniNode
		err = b.api.Get(ctx, key, &node)
		allocatable = node.Status.Allocatable
	}
	if err != nil {
		return 0, 0, err
	}
	list := s.list()
	if err := b.api.List(ctx, list); err != nil {
		return 0, 0, err
	}
	_ = eachItem(list, func(o client.Object) error {
		if s.look(o).running {
			others++
		}
		return nil
	})
	room = int(allocatable.Pods().Value()) - others
	if b.pods > 0 {
		room = min(room, b.pods)
	}
	return room, others, nil
}

// crash kills the program that looks after a side's containers, and waits until a Pod that is created right then runs.
func (b *bench) crash(ctx context.Context, s side, t *tracker, round int, found samples) error {
	if err := b.calm(ctx, s); err != nil {
		return err
	}
	before, err := b.containers(ctx, s)
	if err != nil {
		return err
	}
	table, err := b.procs.Read()
	if err != nil {
		return err
	}
	victims := table.Of(s.agent())
	if len(victims) != 1 {
		return fmt.Errorf("%d processes of %s are found on this machine; one is expected", len(victims), s.agent())
	}
	ends, err := procs.Watch(victims)
	if err != nil {
		return err
	}
	defer ends.Close()
	begin, boot := time.Now(), sinceBoot()
	if err := syscall.Kill(victims[0].PID, syscall.SIGKILL); err != nil {
		return err
	}
	if err := ends.Wait(ctx); err != nil {
		return err
	}
	if err := b.supervise(ctx, s); err != nil {
		return err
	}
	probe := fmt.Sprintf("probe-%d", round)
	if _, err := b.start(ctx, s, []string{probe}, 1, 1); err != nil {
		return err
	}
	isRunning := func() bool { return t.pods[probe] != nil && !t.pods[probe].running.IsZero() }
	if err := t.until(ctx, 3*time.Minute, probe, isRunning); err != nil {
		return err
	}
	took := t.at(probe).running.Sub(begin).Seconds()
	started, err := b.startOf(s.agent())
	if err != nil {
		return err
	}
	changed, err := b.changed(ctx, s, before)
	if err != nil {
		return err
	}
	found["crash.latency"] = append(found["crash.latency"], took)
	found["crash.own"] = append(found["crash.own"], took-(started-boot))
	found["crash.restarts"] = append(found["crash.restarts"], float64(changed))
	return nil
}

// calm waits before a kill. An agent in a Pod is started again by the kubelet, at once the first time and later and later
// after that, unless the kubelet is new as well: its patience is not what is measured.
func (b *bench) calm(ctx context.Context, s side) error {
	if s.name() == report.Mini && b.has(report.Native) {
		if err := b.command(ctx, "kubelet-restart", b.node); err != nil {
			return err
		}
		if err := settle(ctx); err != nil { // it reads what is there
			return err
		}
	}
	return settle(ctx)
}

// supervise starts again what was killed, where nobody else does: as soon as a supervisor could.
func (b *bench) supervise(ctx context.Context, s side) error {
	switch {
	case s.name() == report.Native:
		return b.command(ctx, "kubelet-start", b.node)
	case !b.has(report.Native):
		return b.command(ctx, "agent-start", b.node)
	}
	return nil
}

// sinceBoot is the time in seconds since the machine's boot, as the start times of processes are given.
func sinceBoot() float64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return float64(now.Nano()) / 1e9
}

// startOf is when a program's one process was started, in seconds since the boot.
func (b *bench) startOf(program string) (float64, error) {
	table, err := b.procs.Read()
	if err != nil {
		return 0, err
	}
	found := table.Of(program)
	if len(found) != 1 {
		return 0, notRunning(program)
	}
	return float64(found[0].Start) / procs.UserHZ, nil
}

// containers tells each Pod's container, with when it started.
func (b *bench) containers(ctx context.Context, s side) (map[string]string, error) {
	list, out := s.list(), map[string]string{}
	if err := b.api.List(ctx, list, client.InNamespace(b.namespace)); err != nil {
		return nil, err
	}
	return out, eachItem(list, func(o client.Object) error {
		l := s.look(o)
		out[o.GetName()] = fmt.Sprintf("%s, %d restarts", l.container, l.restarts)
		return nil
	})
}

// changed counts the containers that are not the same as before, after a while in which they could have been replaced.
func (b *bench) changed(ctx context.Context, s side, before map[string]string) (n int, err error) {
	if err := settle(ctx); err != nil {
		return 0, err
	}
	after, err := b.containers(ctx, s)
	for name, container := range before {
		if after[name] != container {
			n++
		}
	}
	return n, err
}

// healthy is nil when the node says that it is.
func (b *bench) healthy(ctx context.Context) error {
	if err := settle(ctx); err != nil {
		return err
	}
	var node corev1.Node
	var miniNode miniv1.MiniNode
	key := client.ObjectKey{Name: b.node}
	if err := b.api.Get(ctx, key, &node); err != nil {
		return err
	}
	if b.has(report.Mini) {
		if err := b.api.Get(ctx, key, &miniNode); err != nil {
			return err
		}
	}
	for _, c := range node.Status.Conditions {
		if want := c.Type == corev1.NodeReady; (c.Status == corev1.ConditionTrue) != want {
			return fmt.Errorf("the Node says %s=%s: %s", c.Type, c.Status, c.Message)
		}
	}
	for _, c := range miniNode.Status.Conditions {
		if c.Type == miniv1.ConditionReady && string(c.Status) != "True" {
			return fmt.Errorf("the MiniNode says %s=%s: %s", c.Type, c.Status, c.Message)
		}
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/test/perf/procs"
)

// probeWindow is how long probes are watched.
const probeWindow = 20 * time.Second

// probedSpec is a web server that is asked for its readiness every second, for a Pod and a MiniPod alike.
const probedSpec = `
terminationGracePeriodSeconds: 1
containers:
- name: main
  image: IMAGE
  imagePullPolicy: IfNotPresent
  command: [sh, -c, "echo hello >/index.html; exec busybox httpd -f -p 8080 -h /"]
  readinessProbe: {PROBE, periodSeconds: 1}
`

// probeKinds are the kinds of probes, and how many Pods at most are probed at a time: as many as a slow machine keeps up with on
// each side, because a node that asks more seldom than it is told would look cheaper than it is.
var probeKinds = []struct {
	name, probe string
	pods        int
}{
	{"http", "httpGet: {port: 8080}", 30},
	{"exec", "exec: {command: [busybox, 'true']}", 10},
}

// probes have Pods probed for a while, and account for the CPU time of the programs of the node, for each probe (P21).
func probes(ctx context.Context, b *bench, s side, round int) (samples, error) {
	found := samples{}
	for _, kind := range probeKinds {
		spec := strings.NewReplacer("IMAGE", b.image, "PROBE", kind.probe).Replace(probedSpec)
		names := podNames(min(b.burst, kind.pods), "%s-%d", kind.name, round)
		if err := b.probed(ctx, s, names, spec, "probe."+kind.name+".cpu", found); err != nil {
			return nil, fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	return found, nil
}

func (b *bench) probed(ctx context.Context, s side, names []string, spec, key string, found samples) error {
	t, err := b.track(ctx, s)
	if err != nil {
		return err
	}
	defer t.stop()
	a, err := b.open(ctx, s)
	if err != nil {
		return err
	}
	if _, err := b.create(ctx, names, len(names), func(name string) client.Object {
		pod, err := s.application(b.namespace, name, []byte(spec))
		if err != nil {
			panic(err) // it is written above
		}
		return pod
	}); err != nil {
		return err
	}
	if err := t.until(ctx, 5*time.Minute, "readiness", func() bool { return t.counts.ready == len(names) }); err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	begin, err := b.read()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(probeWindow):
	}
	end, err := b.read()
	if err != nil {
		return err
	}
	cpu, seconds := end.since(begin)
	total := 0.0
	for _, program := range append(s.node(), procs.Containerd) {
		one := 1000 * max(0, cpu[program]-a.idle[program]*seconds) / (float64(len(names)) * seconds)
		found[key+"/"+program] = []float64{one}
		total += one
	}
	found[key] = []float64{total}
	return b.clear(ctx, s, t)
}

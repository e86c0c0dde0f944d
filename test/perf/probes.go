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

// probes have a burst of Pods probed for a while, and account for the CPU time of the programs of the node, for each probe (P21).
func probes(ctx context.Context, b *bench, s side, round int) (samples, error) {
	found := samples{}
	for kind, probe := range map[string]string{"http": "httpGet: {port: 8080}", "exec": "exec: {command: [busybox, 'true']}"} {
		spec := strings.NewReplacer("IMAGE", b.image, "PROBE", probe).Replace(probedSpec)
		if err := b.probed(ctx, s, podNames(b.burst, "%s-%d", kind, round), spec, "probe."+kind+".cpu", found); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
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

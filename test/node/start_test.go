package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// watcher tells when MiniPods came to run, as a client that watches sees it.
func (e *env) watcher(cfg *rest.Config) <-chan *miniv1.MiniPod {
	e.t.Helper()
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		e.t.Fatal(err)
	}
	w, err := c.Watch(context.Background(), &miniv1.MiniPodList{}, client.InNamespace(e.namespace))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(w.Stop)
	out := make(chan *miniv1.MiniPod, 10000)
	go func() {
		seen := map[string]bool{}
		for event := range w.ResultChan() {
			if pod, ok := event.Object.(*miniv1.MiniPod); ok && pod.Status.Phase == miniv1.PodRunning && !seen[pod.Name] {
				seen[pod.Name] = true
				out <- pod
			}
		}
	}()
	return out
}

// TestStartTimes measures one MiniPod at a time, from the binding to Running in a watch, and a burst. The parts that the
// agent measured itself are in its metrics.
func TestStartTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement")
	}
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { measureStarts(t, newEnv(t, flags...)) })
	}
}

// shims are the two ways in which an agent starts containers.
var shims = map[string][]string{"own shim": nil, "runc": {"--shim-binary="}}

func measureStarts(t *testing.T, e *env) {
	t.Helper()
	cfg, _ := testenv.Start(t)
	running := e.watcher(cfg)
	var took []time.Duration
	for i := range 30 {
		name := fmt.Sprintf("one-%d", i)
		pod := e.sh(name, "exec sleep 1000000")
		start := time.Now()
		e.run(pod)
		<-running
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("create and bind → Running, one at a time: p50 %v, p90 %v, max %v", took[15], took[27], took[29])
	e.logTimes("one at a time")
	start := time.Now()
	for i := range 60 {
		go e.run(e.sh(fmt.Sprintf("burst-%d", i), "exec sleep 1000000"))
	}
	e.until("all run", func() bool { return e.count(miniv1.PodRunning) == 90 })
	all := time.Since(start)
	t.Logf("burst of 60: %v, %.1f/s", all, 60/all.Seconds())
	e.logTimes("all")
	start = time.Now()
	if err := e.api.DeleteAllOf(context.Background(), &miniv1.MiniPod{}, client.InNamespace(e.namespace)); err != nil {
		t.Fatal(err)
	}
	e.until("all are gone", func() bool {
		var pods miniv1.MiniPodList
		return e.api.List(context.Background(), &pods, client.InNamespace(e.namespace)) == nil && len(pods.Items) == 0
	})
	t.Logf("90 deleted in %v", time.Since(start))
}

// count is how many MiniPods are in a phase.
func (e *env) count(phase miniv1.MiniPodPhase) (n int) {
	var pods miniv1.MiniPodList
	if err := e.api.List(context.Background(), &pods, client.InNamespace(e.namespace)); err != nil {
		return -1
	}
	for i := range pods.Items {
		if pods.Items[i].Status.Phase == phase {
			n++
		}
	}
	return n
}

// logTimes logs how long each of the agent's actions took so far, in milliseconds.
func (e *env) logTimes(what string) {
	e.t.Helper()
	sums := map[string]float64{}
	for line := range strings.Lines(e.ns.Run("curl", "-s", "http://127.0.0.1:10350/metrics")) {
		var value float64
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, err := fmt.Sscan(number, &value); err == nil && strings.HasPrefix(name, "miniplane_agent") {
			sums[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		if count := sums[strings.Replace(name, "_sum", "_count", 1)]; strings.Contains(name, "_sum") {
			e.t.Logf("%s: %s: %.1f ms", what, strings.TrimPrefix(name, "miniplane_agent_"), sums[name]/count*1000)
		}
	}
}

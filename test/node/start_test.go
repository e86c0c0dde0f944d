package node

import (
	"context"
	"fmt"
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

// BenchmarkStart measures one MiniPod at a time, from the binding to Running in a watch, and a burst. The parts that the
// agent measured itself are in its metrics.
func TestStartTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement")
	}
	e := newEnv(t)
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
	start := time.Now()
	for i := range 60 {
		go e.run(e.sh(fmt.Sprintf("burst-%d", i), "exec sleep 1000000"))
	}
	for range 60 {
		<-running
	}
	all := time.Since(start)
	t.Logf("burst of 60: %v, %.1f/s", all, 60/all.Seconds())
	for line := range strings.Lines(e.ns.Run("curl", "-s", "http://127.0.0.1:10350/metrics")) {
		if strings.HasPrefix(line, "miniplane_agent") && (strings.Contains(line, "_sum") || strings.Contains(line, "_count")) {
			t.Log(strings.TrimSpace(line))
		}
	}
	start = time.Now()
	if err := e.api.DeleteAllOf(context.Background(), &miniv1.MiniPod{}, client.InNamespace(e.namespace)); err != nil {
		t.Fatal(err)
	}
	e.until("all are gone", func() bool {
		var pods miniv1.MiniPodList
		return e.api.List(context.Background(), &pods, client.InNamespace(e.namespace)) == nil && len(pods.Items) == 0
	})
	t.Logf("90 deleted in %v", time.Since(start))
	e.clean()
}

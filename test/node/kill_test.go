package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// TestKilledUnderChurn kills the agent at random points while MiniPods come and go. Those that stay must not notice, and
// nothing may be left of those that went.
func TestKilledUnderChurn(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) { killUnderChurn(t, newEnv(t, flags...)) })
	}
}

func killUnderChurn(t *testing.T, e *env) {
	t.Helper()
	const stay, rounds = 6, 8
	first := map[string]string{} // container IDs of those that stay
	for i := range stay {
		e.run(e.sh(fmt.Sprintf("stay-%d", i), "while :; do date +%s; sleep 1; done"))
	}
	for i := range stay {
		pod := e.shows(fmt.Sprintf("stay-%d", i), "Running")
		first[pod.Name] = pod.Status.ContainerStatuses[0].ContainerID
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	for round := range rounds {
		for i := range 4 {
			e.run(e.sh(fmt.Sprintf("go-%d-%d", round, i), "exec sleep 1000000"))
		}
		if round > 0 {
			for i := range 4 {
				e.delete(fmt.Sprintf("go-%d-%d", round-1, i))
			}
		}
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond) // somewhere in the middle of it
		e.kill()
		e.start()
	}
	for round := range rounds - 1 {
		for i := range 4 {
			e.gone(fmt.Sprintf("go-%d-%d", round, i))
		}
	}
	for i := range 4 {
		name := fmt.Sprintf("go-%d-%d", rounds-1, i)
		if pod := e.shows(name, "Running"); pod.Status.Restarts != 0 {
			t.Errorf("%s was restarted", name)
		}
	}
	addresses := map[string]string{}
	for i := range stay {
		pod := e.get(fmt.Sprintf("stay-%d", i))
		if pod.Status.Restarts != 0 || pod.Status.ContainerStatuses[0].ContainerID != first[pod.Name] || pod.Status.Summary != "Running" {
			t.Errorf("%s noticed: %+v", pod.Name, pod.Status)
		}
		if other := addresses[pod.Status.PodIP]; other != "" {
			t.Errorf("%s and %s have the same address", pod.Name, other)
		}
		addresses[pod.Status.PodIP] = pod.Name
		e.ns.Run("busybox", "ping", "-c1", "-W2", pod.Status.PodIP)
	}
	e.deleteAll()
	e.clean()
}

// TestReadopts measures how long a new agent takes to know what the old one knew.
func TestReadopts(t *testing.T) {
	e := newEnv(t)
	const pods = 30
	for i := range pods {
		e.run(e.sh(fmt.Sprintf("p-%d", i), "exec sleep 1000000"))
	}
	e.until("all run", func() bool { return e.count(miniv1.PodRunning) == pods })
	var before miniv1.MiniPodList
	if err := e.api.List(context.Background(), &before, client.InNamespace(e.namespace)); err != nil {
		t.Fatal(err)
	}
	e.kill()
	start := time.Now()
	e.start()
	e.join()
	t.Logf("ready again after %v with %d MiniPods", time.Since(start), pods)
	e.containerd.Kill()
	e.containerd.Run(t)
	e.run(e.sh("after", "exec sleep 1000000"))
	e.shows("after", "Running")
	for _, pod := range before.Items {
		if now := e.get(pod.Name); now.ResourceVersion != pod.ResourceVersion {
			t.Errorf("%s was written:\n%+v\n%+v", pod.Name, pod.Status, now.Status)
		}
	}
	e.term()
	e.start()
	e.deleteAll()
	e.clean()
}

func (e *env) deleteAll() {
	e.t.Helper()
	if err := e.api.DeleteAllOf(context.Background(), &miniv1.MiniPod{}, client.InNamespace(e.namespace)); err != nil {
		e.t.Fatal(err)
	}
	e.until("all are gone", func() bool {
		var pods miniv1.MiniPodList
		return e.api.List(context.Background(), &pods, client.InNamespace(e.namespace)) == nil && len(pods.Items) == 0
	})
}

package e2e

import (
	"context"
	"strings"
	"testing"
)

// rolledOut waits for a native workload of miniplane's.
func rolledOut(t *testing.T, what ...string) {
	t.Helper()
	for _, name := range what {
		kubectl(t, systemNamespace, "rollout", "status", name, "--timeout=3m")
	}
}

// Another version of miniplane takes over: every container runs on, and services answer all the time.
func TestUpgradeKeepsContainers(t *testing.T) {
	w := newWebs(t)
	check := stable(t, namespace(t), 6)
	before := map[string]string{}
	for _, node := range cluster.nodes(t) {
		before[node.name] = string(agentPod(t, node.name).UID)
		tag := "ctr -a /run/containerd/containerd.sock -n k8s.io images tag --force miniplane.dev/miniplane:dev miniplane.dev/miniplane:next"
		if out, err := cluster.nodeExec(node.name, tag); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	setImages := func(tag string) {
		kubectl(t, systemNamespace, "set", "image", "ds/miniplane-agent", "agent=miniplane.dev/miniplane:"+tag)
		kubectl(t, systemNamespace, "set", "image", "deploy/miniplane-manager", "manager=miniplane.dev/miniplane:"+tag)
		rolledOut(t, "ds/miniplane-agent", "deploy/miniplane-manager")
	}
	t.Cleanup(func() { setImages("dev") })
	failures := w.askAllTheTime()
	setImages("next")
	if n := failures(); n > 0 {
		t.Errorf("%d requests to the MiniService failed during the upgrade", n)
	}
	for _, node := range cluster.nodes(t) {
		pod := agentPod(t, node.name)
		if string(pod.UID) == before[node.name] || !strings.HasSuffix(pod.Spec.Containers[0].Image, ":next") {
			t.Errorf("%s still has its old agent", node.name)
		}
		waitNode(t, node.name, true, patience)
	}
	check()
	apply(t, w.ns, deployment("new", 2, imageV1))
	waitReady(t, w.ns, 4, patience)
	w.check("after the upgrade")
	check()
}

// askAllTheTime asks the MiniService from the first node without a pause, until the function it returns is called, which
// tells how often there was no answer.
func (w *webs) askAllTheTime() (failures func() int) {
	ctx, stop := context.WithCancel(w.t.Context())
	done := make(chan int)
	node := cluster.nodes(w.t)[0].name
	go func() {
		failed, asked := 0, 0
		for ; ctx.Err() == nil; asked++ {
			out, err := cluster.nodeExec(node, "timeout 2 busybox wget -qO- "+w.minis)
			if err != nil && ctx.Err() == nil {
				w.t.Logf("request %d: %v %s", asked, err, out)
				failed++
			}
		}
		w.t.Logf("%d requests to the MiniService during the upgrade", asked)
		done <- failed
	}()
	return func() int { stop(); return <-done }
}

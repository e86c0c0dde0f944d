package main

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"miniplane.dev/miniplane/test/faults/report"
)

// faults is the whole campaign, in the order of the table.
func faults() []fault {
	return []fault{
		{key: "agent", title: "agent killed (SIGKILL) while MiniPods come and go", on: []string{full}, times: 50, short: 6,
			pause: 800 * time.Millisecond, jitter: true, during: churn, do: killAgent},
		{key: "agent-whole", title: "agent killed (SIGKILL) while MiniPods with init containers, a sidecar, hooks, probes and volumes come and go", on: []string{full},
			times: 20, short: 5, pause: 10 * time.Second, jitter: true, during: wholeChurn, do: killAgent},
		{key: "objects", title: "ConfigMap and Secret deleted while they are mounted, and the agent killed meanwhile", on: []string{full}, times: 3, short: 1,
			hold: 10 * time.Second, do: deleteObjects, bites: objectsStillAway},
		{key: "registry", title: "a registry that is slow, silent, cut off, fails, and lies in every other way", on: []string{full}, times: 2, short: 1,
			do: lyingRegistry},
		{key: "containerd", title: "containerd killed while MiniPods come and go", on: []string{full}, times: 6, short: 2,
			pause: 2 * time.Second, jitter: true, during: churn, do: killContainerd},
		{key: "leader", title: "the managers' leader killed during rollouts", on: []string{full}, times: 20, short: 2,
			hold: time.Second, jitter: true, do: killLeader},
		{key: "shim-stop", title: "every shim server stopped (SIGSTOP) for 30 s while MiniPods come and go", on: []string{full}, times: 3, short: 1,
			hold: 30 * time.Second, during: churn, do: stopShims},
		// Containers live on without their server: docs/designs/shim.md.
		{key: "shim-kill", title: "every shim server killed while MiniPods come and go", on: []string{full}, times: 3, short: 2,
			pause: 5 * time.Second, during: churn, do: killShims},
		{key: "apiserver-1s", title: "API server away for 1 s", on: []string{full}, times: 5, short: 1, hold: time.Second, do: apiServerAway},
		{key: "apiserver-30s", title: "API server away for 30 s", on: []string{full}, times: 3, short: 1, hold: 30 * time.Second, do: apiServerAway},
		{key: "apiserver-5m", title: "API server away for 5 min", on: []string{full}, times: 1, short: 1, hold: 5 * time.Minute, do: apiServerAway},
		{key: "etcd", title: "etcd killed and started again while MiniPods come and go", on: []string{full}, times: 5, short: 2,
			pause: 2 * time.Second, jitter: true, during: churn, do: restartEtcd},
		{key: "upgrade-image", title: "upgrade to an image that cannot be pulled, rolled back after 90 s", on: []string{full}, times: 1, short: 1,
			hold: upgradeHold, during: otherNode, do: upgrade("an image that cannot be pulled", func(c *corev1.Container) {
				c.Image = "miniplane.invalid/miniplane:nowhere"
			})},
		{key: "upgrade-budget", title: "upgrade to a budget that does not fit, rolled back after 90 s", on: []string{full}, times: 1, short: 1,
			hold: upgradeHold, during: otherNode, do: upgrade("a budget that does not fit", func(c *corev1.Container) {
				c.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1000")
			})},
		// What is asked through the link is not answered while it is down; after that the network must be whole within moments.
		{key: "link", title: "a node's link down for 2 s", on: []string{local}, times: 5, short: 2, hold: 2 * time.Second, pause: 8 * time.Second,
			do: flapLink, promise: report.Promise{Silent: report.Any}},
		{key: "run-full", title: "the file system of the agent's state (`/run`) full for 20 s while MiniPods come and go", on: []string{full}, times: 2, short: 1,
			hold: 20 * time.Second, during: churn, do: fill(stateDir)},
		{key: "disk-full", title: "the file system of logs full for 20 s while MiniPods come and go", on: []string{full}, times: 2, short: 1,
			hold: 20 * time.Second, during: churn, do: fill(rootDir)},
		{key: "memory", title: "a MiniPod that takes memory without end, with a limit", on: []string{full}, times: 2, short: 1,
			hold: 20 * time.Second, do: hog(limits("200m", "64Mi"), eatMemory), bites: hogEnded},
		{key: "lane-memory", title: "a MiniPod that takes all memory of the lane, without a limit", on: []string{full}, times: 2, short: 1,
			hold: 30 * time.Second, do: hog(limits("500m", ""), eatMemory), bites: hogEnded},
		{key: "fork-bomb", title: "a fork bomb in a MiniPod", on: []string{full}, times: 2, short: 1,
			hold: 15 * time.Second, do: hog(limits("100m", "256Mi"), forkBomb), bites: hogForked},
		{key: "power", title: "a node's power cut, with its namespace's quota full", on: []string{local}, times: 6, short: 1, do: powerCut},
		{key: "clock", title: "the clock set by ±10 min, and back after 30 s", on: []string{vm}, times: 4, short: 2,
			hold: 30 * time.Second, pause: 10 * time.Second, do: setClocks()},
	}
}

// upgradeHold is longer than it takes until a node that is not heard at all is given up, and shorter than --agent-absence.
const upgradeHold = 90 * time.Second

// The agent's directories in a full cluster, each on a file system of its own.
const stateDir, rootDir = "/run/miniplane", "/var/lib/miniplane"

// killContainerd kills the containerd of the first node, and starts it again as a supervisor would.
func killContainerd(ctx context.Context, w *world) (undo, error) {
	_, err := w.command(ctx, "containerd-restart", w.nodes[0])
	return nil, err
}

// killLeader kills the manager that leads in the middle of a rollout, and waits until the next one has finished it.
func killLeader(ctx context.Context, w *world) (undo, error) {
	set := deployment(w.wild, "rollout", 10, imageWeb)
	if err := w.api.Create(ctx, set); err != nil {
		return nil, err
	}
	back := func(ctx context.Context) error {
		return errors.Join(w.rolledOut(ctx, set), w.remove(ctx, set))
	}
	if err := w.waitPods(ctx, w.wild, 10); err != nil {
		return back, err
	}
	set.Spec.Template.Spec.Containers[0].Image = imageNext
	next := deployment(w.wild, "rollout", 10, imageNext)
	if err := w.patch(ctx, set, toJSON(map[string]any{"spec": map[string]any{"template": next.Spec.Template}})); err != nil {
		return back, err
	}
	leader, err := w.leader(ctx)
	if err != nil {
		return back, err
	}
	return back, w.killPod(ctx, &leader)
}

func restartEtcd(ctx context.Context, w *world) (undo, error) {
	_, err := w.command(ctx, "etcd-restart")
	return nil, err
}

func apiServerAway(ctx context.Context, w *world) (undo, error) {
	_, err := w.command(ctx, "apiserver-stop")
	return func(ctx context.Context) error {
		_, err := w.command(ctx, "apiserver-start")
		return err
	}, err
}

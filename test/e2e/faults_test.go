package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/leaks"
)

// containerRuns tells, by MiniPod and container, what would change if a container were restarted.
func containerRuns(list []miniv1.MiniPod) map[string]string {
	out := map[string]string{}
	for _, pod := range list {
		for _, c := range pod.Status.ContainerStatuses {
			if c.State.Running != nil {
				out[pod.Name+"/"+c.Name] = fmt.Sprintf("%s since %s, restarts %d, %s", c.ContainerID, c.State.Running.StartedAt.UTC(), c.RestartCount, pod.Status.PodIP)
			}
		}
	}
	return out
}

// stable starts MiniPods that nothing in the test may disturb, and returns a check that nothing did.
func stable(t *testing.T, ns string, n int) func() {
	t.Helper()
	apply(t, ns, deployment("stable", n, imageV1))
	waitReady(t, ns, n, patience)
	before := containerRuns(pods(t, ns))
	return func() {
		t.Helper()
		after := containerRuns(pods(t, ns))
		for name := range after {
			if !strings.HasPrefix(name, "stable-") {
				delete(after, name)
			}
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("containers that nobody touched changed (-before +after):\n%s", diff)
		}
	}
}

// checkTraces waits until a node has no traces that it did not have before.
func checkTraces(t *testing.T, before map[string][]string) {
	t.Helper()
	for name, was := range before {
		deadline := time.Now().Add(patience)
		left := leaks.Left(was, cluster.traces(t, name))
		for len(left) > 0 && time.Now().Before(deadline) {
			time.Sleep(500 * time.Millisecond) // The kernel tells nobody when a shim or a cgroup is gone.
			left = leaks.Left(was, cluster.traces(t, name))
		}
		if len(left) > 0 {
			t.Errorf("left behind on %s:\n%s", name, strings.Join(left, "\n"))
		}
	}
}

func allTraces(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, n := range cluster.nodes(t) {
		out[n.name] = cluster.traces(t, n.name)
	}
	return out
}

// containsPod tells whether a kind of trace is among them.
func containsPod(traces []string, kind string) bool {
	return slices.ContainsFunc(traces, func(l string) bool { return leaks.Kind(l) == kind })
}

// The agent is killed again and again while MiniPods come and go: no container restarts, and nothing is left behind.
func TestAgentKilledUnderChurn(t *testing.T) {
	clean := allTraces(t)
	ns, churnNS := namespace(t), namespace(t)
	check := stable(t, ns, 6)
	apply(t, churnNS, deployment("churn", 0, imageV1))
	node := cluster.nodes(t)[0].name
	for range 6 {
		kubectl(t, churnNS, "scale", "mdeploy/churn", fmt.Sprintf("--replicas=%d", rand.IntN(20)))
		// A random point of what follows: this is the fault that is injected, not a wait.
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		cluster.fault(t, "agent-restart", node)
	}
	kubectl(t, churnNS, "scale", "mdeploy/churn", "--replicas=5")
	waitReady(t, churnNS, 5, patience)
	check()
	kubectl(t, churnNS, "delete", "mdeploy", "churn")
	waitReady(t, churnNS, 0, patience)
	check()
	kubectl(t, ns, "delete", "mdeploy", "stable")
	waitReady(t, ns, 0, patience)
	checkTraces(t, clean)
}

// containerd is killed and started again: containers live on, and the node goes on working.
func TestContainerdKilled(t *testing.T) {
	ns := namespace(t)
	check := stable(t, ns, 6)
	for _, n := range cluster.nodes(t) {
		cluster.fault(t, "containerd-restart", n.name)
	}
	for _, n := range cluster.nodes(t) {
		waitNode(t, n.name, true, patience)
	}
	apply(t, ns, deployment("after", 6, imageV1))
	waitReady(t, ns, 12, patience)
	check()
	kubectl(t, ns, "delete", "mdeploy", "after")
	waitReady(t, ns, 6, patience)
	check()
}

// The manager is killed in the middle of a rollout: the next one finishes it.
func TestManagerKilledDuringRollout(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, deployment("web", 8, imageV1))
	waitRolledOut(t, ns, "web")
	setImage(t, ns, imageV2)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "the rollout to be under way", func() (bool, string) {
		got := images(t, ns)
		return got[imageV2] > 0 && got[imageV1] > 0, fmt.Sprint(got)
	})
	cluster.fault(t, "manager-kill")
	cluster.fault(t, "manager-start")
	waitRolledOut(t, ns, "web")
	waitReady(t, ns, 8, patience)
	if got := images(t, ns); got[imageV2] != 8 {
		t.Errorf("images: %v, want 8 of %s", got, imageV2)
	}
}

// The API server is away for a minute: containers and services go on; after it everything moves again.
func TestAPIServerAway(t *testing.T) {
	long(t)
	ns := namespace(t)
	apply(t, ns, seed)
	service := waitService(t, ns, "nginx-service", 2)
	backends, before := names(pods(t, ns)), containerRuns(pods(t, ns))
	url := fmt.Sprintf("http://%s:8881/", service.Status.ClusterIP)

	nodes := cluster.nodes(t)
	cluster.fault(t, "apiserver-stop")
	stopped := time.Now()
	for _, n := range nodes {
		fetch(t, n.name, url, backends)
	}
	time.Sleep(time.Until(stopped.Add(time.Minute))) // The length of the outage is what is tested.
	cluster.fault(t, "apiserver-start")

	kubectl(t, ns, "scale", "mdeploy/nginx-deployment", "--replicas=4")
	waitReady(t, ns, 4, 2*patience)
	after := containerRuns(pods(t, ns))
	for name, run := range before {
		if after[name] != run {
			t.Errorf("%s: %q became %q", name, run, after[name])
		}
	}
	waitService(t, ns, "nginx-service", 4)
	fetch(t, cluster.nodes(t)[0].name, url, names(pods(t, ns)))
}

// All of iptables is flushed on a node: the service answers again by itself.
func TestIptablesFlushed(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, seed)
	service := waitService(t, ns, "nginx-service", 2)
	backends := names(pods(t, ns))
	url := fmt.Sprintf("http://%s:8881/", service.Status.ClusterIP)
	name := cluster.nodes(t)[0].name
	fetch(t, name, url, backends)
	program := "iptables"
	if os.Getenv("IPTABLES") == "legacy" { // what agents of a local cluster are told, too
		program = "iptables-legacy"
	}
	flush := strings.ReplaceAll("for t in nat filter mangle; do PROGRAM -t $t -F && PROGRAM -t $t -X; done", "PROGRAM", program)
	if out, err := cluster.nodeExec(name, flush); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, err := cluster.nodeExec(name, "timeout 1 busybox wget -qO- "+url)
		if err == nil && strings.Contains(out, backends[0]) || strings.Contains(out, backends[1]) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the service does not answer 30 s after the flush: %v\n%s", err, out)
		}
	}
	fetch(t, name, url, backends)
}

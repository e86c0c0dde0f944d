package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// applySample applies one of the applications' samples as it is.
func applySample(t *testing.T, ns, name string) {
	t.Helper()
	apply(t, ns, readSample(t, name))
}

func readSample(t *testing.T, name string) string {
	t.Helper()
	sample, err := os.ReadFile(filepath.Join("../../config/samples/apps", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(sample)
}

// ipOf is the address of a MiniPod.
func ipOf(t *testing.T, ns, name string) string {
	t.Helper()
	return kubectl(t, ns, "get", "minipod", name, "-o", "jsonpath={.status.podIP}")
}

// answers waits until a URL answers with something, as the first node sees it.
func answers(t *testing.T, ns, url, want string) {
	t.Helper()
	node := cluster.nodes(t)[0].name
	var out string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if out, _ = cluster.nodeExec(node, "timeout 5 busybox wget -qO- "+url); strings.Contains(out, want) {
			return
		}
	}
	t.Errorf("%s answers %q, want %q", url, out, want)
}

// runs runs a command in a MiniPod of its own to its end, and returns its last words.
func runs(t *testing.T, ns, image, script string) string {
	t.Helper()
	apply(t, ns, fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: client}
spec:
  restartPolicy: Never
  containers:
  - name: client
    image: %s
    command: [sh, -c, %q]
`, image, "("+script+") >/dev/termination-log 2>&1"))
	defer kubectl(t, ns, "delete", "minipod", "client", "--timeout=60s")
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "the client ends", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "client", "-o", "jsonpath={.status.phase}")
		return out == "Succeeded" || out == "Failed", out
	})
	return kubectl(t, ns, "get", "minipod", "client", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.message}")
}

// A WAR file comes by an init container, and a servlet container compiles and serves it.
func TestWebApplication(t *testing.T) {
	needs(t, applications)
	t.Parallel()
	ns := namespace(t)
	applySample(t, ns, "tomcat.yaml")
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=180s", "minipod/hello-war")
	answers(t, ns, "http://"+ipOf(t, ns, "hello-war")+":8080/hello/", "42")
	kubectl(t, ns, "delete", "minipod", "hello-war", "--timeout=60s")
}

// A database takes connections with the password of its Secret, and with no other, and ends in order.
func TestPostgreSQL(t *testing.T) {
	needs(t, applications)
	t.Parallel()
	ns := namespace(t)
	applySample(t, ns, "postgres.yaml")
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=180s", "minipod/postgres")
	ask := func(password string) string {
		return runs(t, ns, "miniplane.dev/postgres:v1", "PGPASSWORD="+password+" psql -h "+ipOf(t, ns, "postgres")+" -U postgres -tAc 'SELECT 6*7'")
	}
	if out := ask("change-me"); strings.TrimSpace(out) != "42" {
		t.Errorf("it answers %q", out)
	}
	if out := ask("guess"); !strings.Contains(out, "password authentication failed") {
		t.Errorf("to a wrong password it answers %q", out)
	}
	if out := kubectl(t, ns, "get", "minipod", "postgres", "-o", "jsonpath={.status.restarts}"); out != "0" {
		t.Errorf("it was restarted %s times", out)
	}
	began := time.Now()
	kubectl(t, ns, "delete", "minipod", "postgres", "--timeout=90s")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it ended after %s: its preStop did not shut it down", took)
	}
	if out := kubectl(t, ns, "get", "events", "-o", "jsonpath={.items[*].reason}"); strings.Contains(out, "FailedPreStopHook") {
		t.Errorf("events: %s", out)
	}
}

// A database reads the configuration that it was given, from a root that it cannot write to.
func TestRedis(t *testing.T) {
	needs(t, applications)
	t.Parallel()
	ns := namespace(t)
	applySample(t, ns, "redis.yaml")
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/redis")
	ip := ipOf(t, ns, "redis")
	if out := runs(t, ns, "miniplane.dev/redis:v1", "redis-cli -h "+ip+" set key value; redis-cli -h "+ip+" get key; redis-cli -h "+ip+" config get maxmemory"); out != "OK\nvalue\nmaxmemory\n16777216\n" && out != "OK\nvalue\nmaxmemory\n16777216" {
		t.Errorf("it answers %q", out)
	}
	kubectl(t, ns, "delete", "minipod", "redis", "--timeout=60s")
}

// Pages change while web servers serve them.
func TestPagesChange(t *testing.T) {
	needs(t, applications)
	t.Parallel()
	ns := namespace(t)
	applySample(t, ns, "nginx.yaml")
	service := waitService(t, ns, "nginx", 2)
	url := "http://" + service.Status.ClusterIP + "/"
	answers(t, ns, url, "a page")
	kubectl(t, ns, "patch", "configmap", "nginx-pages", "-p", `{"data":{"index.html":"another one\n"}}`)
	for _, pod := range pods(t, ns) {
		answers(t, ns, "http://"+pod.Status.PodIP+"/", "another one")
		if pod.Status.Restarts != 0 {
			t.Errorf("%s was restarted", pod.Name)
		}
	}
	kubectl(t, ns, "delete", "minideployment", "nginx", "--timeout=60s")
}

// A sidecar reads all that the program beside it writes.
func TestLogSidecar(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	applySample(t, ns, "logs.yaml")
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=120s", "minipod/hello-logs")
	if out := kubectl(t, ns, "get", "minipod", "hello-logs", "--no-headers"); !strings.Contains(out, "2/2") {
		t.Errorf("kubectl get shows %s", out)
	}
	began := time.Now()
	kubectl(t, ns, "delete", "minipod", "hello-logs", "--timeout=60s")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it ended after %s: app and sidecar end when they are asked to", took)
	}
}

// Five hundred MiniPods that do a little each and end.
func TestBatch(t *testing.T) {
	long(t)
	const n = 500
	ns := namespace(t)
	sample := readSample(t, "batch.yaml")
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "%s\n---\n", strings.ReplaceAll(sample, "batch-0", fmt.Sprintf("batch-%d", i+1)))
	}
	began := time.Now()
	apply(t, ns, all.String())
	eventually(t, 5*patience, ns, &miniv1.MiniPodList{}, "all of the batch end well", func() (bool, string) {
		ended := map[miniv1.MiniPodPhase]int{}
		for _, pod := range pods(t, ns) {
			ended[pod.Status.Phase]++
		}
		return ended[miniv1.PodSucceeded] == n, fmt.Sprint(ended)
	})
	for _, pod := range pods(t, ns) {
		if pod.Status.Restarts != 0 {
			t.Errorf("%s was started %d times more: %+v", pod.Name, pod.Status.Restarts, pod.Status.ContainerStatuses)
		}
	}
	t.Logf("%d MiniPods were applied, ran and ended in %s", n, time.Since(began).Round(time.Second))
	began = time.Now()
	kubectl(t, ns, "delete", "minipods", "-l", "app=batch", "--wait=false") // kubectl asks for each, five times a second
	eventually(t, 2*patience, ns, &miniv1.MiniPodList{}, "all of the batch go", func() (bool, string) {
		left := len(pods(t, ns))
		return left == 0, fmt.Sprint(left, " are left")
	})
	t.Logf("they were gone after %s", time.Since(began).Round(time.Second))
}

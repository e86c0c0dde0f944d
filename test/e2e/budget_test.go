package e2e

import (
	"bufio"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
)

// requestLine is one counter of the API server: how many requests of a verb for a resource it answered.
var requestLine = regexp.MustCompile(`^apiserver_request_total\{(.*)\} ([0-9.e+]+)$`)

// writes counts the successful writes of a resource, with its subresources, that the API server has answered.
func writes(t *testing.T, resource string) (total float64) {
	t.Helper()
	clients, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		t.Fatal(err)
	}
	body, err := clients.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(strings.NewReader(string(body)))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		match := requestLine.FindStringSubmatch(scanner.Text())
		if match == nil || !strings.Contains(match[1], `resource="`+resource+`"`) ||
			!regexp.MustCompile(`verb="(POST|PUT|PATCH|APPLY|DELETE|DELETECOLLECTION)"`).MatchString(match[1]) {
			continue
		}
		n, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

// A MiniPod's whole life costs the API server at most five writes and one Event: create, bind, Running, delete, finalizer.
func TestWritesPerMiniPod(t *testing.T) {
	const n = 30
	ns := namespace(t)
	beforePods, beforeEvents := writes(t, "minipods"), writes(t, "events")
	apply(t, ns, strings.Replace(deployment("web", n, imageV1), "kind: MiniDeployment", "kind: MiniReplicaSet", 1))
	waitReady(t, ns, n, 2*patience)
	kubectl(t, ns, "scale", "mrs/web", "--replicas=0")
	waitReady(t, ns, 0, 2*patience)
	perPod := (writes(t, "minipods") - beforePods) / n
	eventsPerPod := (writes(t, "events") - beforeEvents) / n
	t.Logf("%.2f writes and %.2f Events per MiniPod", perPod, eventsPerPod)
	if perPod > 5 {
		t.Errorf("%.2f writes per MiniPod, want at most 5", perPod)
	}
	if eventsPerPod > 1 {
		t.Errorf("%.2f Events per MiniPod, want at most 1", eventsPerPod)
	}
}

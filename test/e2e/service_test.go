package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	discoveryv1 "k8s.io/api/discovery/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// seed is the classic pair of manifests, with nothing changed but apiVersion, kind and the image.
const seed = `
apiVersion: miniplane.dev/v1alpha1
kind: MiniDeployment
metadata:
  name: nginx-deployment
  labels:
    app: nginx
spec:
  replicas: 2
  selector:
    matchLabels:
      app: nginx
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
      - name: nginx
        image: ` + image80 + `
        ports:
        - containerPort: 80
        resources:
          requests:
            cpu: 0.05
            memory: 16Mi
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniService
metadata:
  name: nginx-service
spec:
  type: NodePort
  selector:
    app: nginx
  ports:
  - protocol: TCP
    port: 8881
    targetPort: 80
`

func getService(t *testing.T, ns, name string) *miniv1.MiniService {
	t.Helper()
	service := &miniv1.MiniService{}
	if err := api.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: name}, service); err != nil {
		t.Logf("service %s: %v", name, err)
	}
	return service
}

// waitService waits until a MiniService has its addresses and so many ready endpoints.
func waitService(t *testing.T, ns, name string, endpoints int) *miniv1.MiniService {
	t.Helper()
	eventually(t, patience, ns, &discoveryv1.EndpointSliceList{}, fmt.Sprintf("%d endpoints of %s", endpoints, name), func() (bool, string) {
		var slices discoveryv1.EndpointSliceList
		if err := api.List(context.Background(), &slices, client.InNamespace(ns), client.MatchingLabels{miniv1.ServiceNameLabel: name}); err != nil {
			return false, err.Error()
		}
		n := 0
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
					n++
				}
			}
		}
		return n == endpoints, fmt.Sprint(n)
	})
	eventually(t, patience, ns, &miniv1.MiniServiceList{}, name+" to be allocated", func() (bool, string) {
		status := getService(t, ns, name).Status
		return status.ClusterIP != "" && len(status.Ports) > 0, fmt.Sprint(status)
	})
	return getService(t, ns, name)
}

// fetch asks a URL from a node until all the backends have answered, and tells which did.
func fetch(t *testing.T, node, url string, want []string) {
	t.Helper()
	script := fmt.Sprintf("for i in $(seq 60); do timeout 5 busybox wget -qO- %s | head -c 4096; echo; done", url)
	out, err := cluster.nodeExec(node, script)
	if err != nil {
		t.Errorf("%s from %s: %v\n%s", url, node, err, out)
		return
	}
	for _, name := range want {
		if !strings.Contains(out, name) {
			t.Errorf("%s from %s: %s never answered:\n%.2000s", url, node, name, out)
		}
	}
}

func names(list []miniv1.MiniPod) (out []string) {
	for i := range list {
		out = append(out, list[i].Name)
	}
	return out
}

// The seed manifests answer on the virtual IP and on the node port, from every node and from inside a MiniPod on every node,
// and both backends take part.
func TestSeedManifests(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, seed)
	service := waitService(t, ns, "nginx-service", 2)
	backends := names(pods(t, ns))
	if len(backends) != 2 {
		t.Fatalf("MiniPods: %v, want 2", backends)
	}
	virtual := fmt.Sprintf("http://%s:8881/", service.Status.ClusterIP)
	for _, node := range cluster.nodes(t) {
		fetch(t, node.name, virtual, backends)
		for _, target := range cluster.nodes(t) {
			fetch(t, node.name, fmt.Sprintf("http://%s:%d/", target.ip, service.Status.Ports[0].NodePort), backends)
		}
		insideOf(t, ns, node.name, "vip-"+node.name, virtual, backends)
		insideOf(t, ns, node.name, "np-"+node.name, fmt.Sprintf("http://%s:%d/", node.ip, service.Status.Ports[0].NodePort), backends)
	}
}

// insideOf runs a MiniPod on the node that succeeds once the URL has shown all the backends.
func insideOf(t *testing.T, ns, node, name, url string, backends []string) {
	t.Helper()
	check := ""
	for _, backend := range backends {
		check += fmt.Sprintf(" && grep -q %s /tmp/out", backend)
	}
	apply(t, ns, fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata:
  name: %s
spec:
  nodeName: %s
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: client
    image: %s
    command: [sh, -c, "for i in $(seq 60); do timeout 5 wget -qO- %s >> /tmp/out; done; true%s"]
`, name, node, busybox, url, check))
	eventually(t, patience, ns, &miniv1.MiniPodList{}, name+" to end", func() (bool, string) {
		pod := &miniv1.MiniPod{}
		err := api.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: name}, pod)
		if pod.Status.Phase == miniv1.PodFailed {
			t.Errorf("%s from inside a MiniPod on %s: not all of %v answered", url, node, backends)
		}
		return pod.Status.Phase == miniv1.PodSucceeded || pod.Status.Phase == miniv1.PodFailed, fmt.Sprint(pod.Status.Phase, err)
	})
}

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/slow"
)

// patience is how long things may take that usually take a second or two.
var patience = slow.By(60 * time.Second)

// namespace makes a namespace that is deleted, and seen to be gone, after the test.
func namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		if t.Failed() {
			dump(t, ns.Name)
		}
		if err := api.Delete(ctx, ns); err != nil {
			t.Errorf("deleting namespace %s: %v", ns.Name, err)
		}
		watch(ctx, t, &corev1.NamespaceList{}, "namespace "+ns.Name+" gone", func() (bool, string) {
			err := api.Get(ctx, client.ObjectKeyFromObject(ns), &corev1.Namespace{})
			return client.IgnoreNotFound(err) == nil && err != nil, fmt.Sprint(err)
		}, client.MatchingFields{"metadata.name": ns.Name})
	})
	return ns.Name
}

// dump shows what is there when a test failed.
func dump(t *testing.T, namespace string) {
	out, _ := exec.Command(kubectlPath(t), "--kubeconfig", kubeconfig, "-n", namespace, "get", "mini,endpointslices,resourcequotas,events", "-o", "wide").CombinedOutput()
	t.Logf("%s at the time of the failure:\n%s", namespace, out)
}

// watch evaluates done now and after every change of the listed kind, until it is true or ctx ends.
func watch(ctx context.Context, t *testing.T, list client.ObjectList, what string, done func() (bool, string), opts ...client.ListOption) {
	t.Helper()
	state := ""
	for ctx.Err() == nil {
		events, err := api.Watch(ctx, list, opts...)
		if err != nil {
			state = err.Error()
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond): // The API server is away; nothing tells when it is back.
			}
			continue
		}
		for open := true; open; _, open = <-events.ResultChan() {
			var ok bool
			if ok, state = done(); ok {
				events.Stop()
				return
			}
		}
	}
	t.Fatalf("waiting for %s: %s", what, state)
}

// eventually is watch with a time limit, in one namespace.
func eventually(t *testing.T, limit time.Duration, namespace string, list client.ObjectList, what string, done func() (bool, string)) time.Duration {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	watch(ctx, t, list, what, done, client.InNamespace(namespace))
	return time.Since(start)
}

// pods lists the MiniPods of a namespace, in all or with labels.
func pods(t *testing.T, namespace string, labels ...client.MatchingLabels) []miniv1.MiniPod {
	t.Helper()
	opts := []client.ListOption{client.InNamespace(namespace)}
	for _, l := range labels {
		opts = append(opts, l)
	}
	var list miniv1.MiniPodList
	if err := api.List(context.Background(), &list, opts...); err != nil {
		t.Logf("listing MiniPods: %v", err)
	}
	return list.Items
}

// ready counts the MiniPods that are ready and not being deleted.
func ready(list []miniv1.MiniPod) (n int) {
	for i := range list {
		if podstate.IsActive(&list[i]) && podstate.IsReady(&list[i]) {
			n++
		}
	}
	return n
}

// waitReady waits until exactly n MiniPods exist, all of them ready.
func waitReady(t *testing.T, namespace string, n int, limit time.Duration) {
	t.Helper()
	eventually(t, limit, namespace, &miniv1.MiniPodList{}, fmt.Sprintf("%d ready MiniPods", n), func() (bool, string) {
		list := pods(t, namespace)
		return len(list) == n && ready(list) == n, fmt.Sprintf("%d ready of %d", ready(list), len(list))
	})
}

func kubectlPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatal("kubectl is not in PATH: ", err)
	}
	return path
}

// kubectl runs it, and returns what it printed; it fails the test when kubectl fails.
func kubectl(t *testing.T, namespace string, args ...string) string {
	t.Helper()
	out, err := tryKubectl(t, namespace, "", args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// tryKubectl is kubectl with standard input, and may fail.
func tryKubectl(t *testing.T, namespace, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(kubectlPath(t), append([]string{"--kubeconfig", kubeconfig, "-n", namespace}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "KUBE_EDITOR="+os.Getenv("KUBE_EDITOR"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// apply gives a manifest to kubectl apply.
func apply(t *testing.T, namespace, manifest string) {
	t.Helper()
	if out, err := tryKubectl(t, namespace, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("kubectl apply: %v\n%s\n%s", err, out, manifest)
	}
}

// deployment is the manifest of a MiniDeployment of echo servers.
func deployment(name string, replicas int, image string) string {
	return fmt.Sprintf(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniDeployment
metadata:
  name: %[1]s
spec:
  replicas: %[2]d
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: %[3]s
        ports:
        - {name: http, containerPort: 8080}
        resources:
          requests: {cpu: 0.01, memory: 16Mi}
`, name, replicas, image)
}

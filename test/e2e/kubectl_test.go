package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// kubectl shows and changes the kinds as it does native ones.
func TestKubectl(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, deployment("web", 2, imageV1)+`---
apiVersion: miniplane.dev/v1alpha1
kind: MiniService
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
`)
	waitReady(t, ns, 2, patience)
	kubectl(t, ns, "wait", "--for=condition=Ready", "--timeout=60s", "minideployment/web", "miniservice/web")

	all := kubectl(t, ns, "get", "all")
	for _, want := range []string{"minipod.miniplane.dev/web-", "minireplicaset.miniplane.dev/web-", "minideployment.miniplane.dev/web", "miniservice.miniplane.dev/web", "2/2", "Running"} {
		if !strings.Contains(all, want) {
			t.Errorf("kubectl get all does not show %q:\n%s", want, all)
		}
	}
	for _, kind := range []string{"mdeploy", "mrs", "mpo", "msvc"} {
		if out := kubectl(t, ns, "describe", kind); !strings.Contains(out, "Status:") {
			t.Errorf("kubectl describe %s:\n%s", kind, out)
		}
	}

	if out, err := tryKubectl(t, ns, kubectl(t, ns, "get", "mdeploy", "web", "-o", "yaml"), "apply", "-f", "-"); err != nil {
		t.Errorf("what get -o yaml prints cannot be applied: %v\n%s", err, out)
	}
	t.Setenv("KUBE_EDITOR", "sed -i 's/replicas: 2$/replicas: 3/'")
	kubectl(t, ns, "edit", "minideployment", "web")
	waitReady(t, ns, 3, patience)
	kubectl(t, ns, "scale", "minideployment", "web", "--replicas=1")
	waitReady(t, ns, 1, patience)
	kubectl(t, ns, "delete", "minideployment", "web")
	waitReady(t, ns, 0, patience)
	eventually(t, patience, ns, &miniv1.MiniReplicaSetList{}, "replica sets gone", func() (bool, string) {
		out := kubectl(t, ns, "get", "mrs", "--ignore-not-found", "-o", "name")
		return out == "", out
	})
}

// Wrong manifests are refused by kubectl apply in words that say what is wrong.
func TestInvalidManifests(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d wrong manifests (%v), want at least 20", len(files), err)
	}
	out, err := tryKubectl(t, ns, "", "apply", "-f", "testdata/invalid")
	if err == nil {
		t.Error("kubectl apply has no error")
	}
	told := map[string]string{} // by file: kubectl has a line for each
	for line := range strings.Lines(out) {
		if _, after, ok := strings.Cut(line, "testdata/invalid/"); ok {
			file, words, _ := strings.Cut(after, `"`)
			told[file] = words
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, _, _ := strings.Cut(strings.TrimPrefix(string(data), "# want: "), "\n")
		if got := told[filepath.Base(file)]; !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant: %s", file, got, want)
		}
	}
}

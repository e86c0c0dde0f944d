package eviction_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"miniplane.dev/miniplane/controllers/eviction"
	"miniplane.dev/miniplane/test/testenv"
)

// kubectl is the command for the test's API server.
func kubectl(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := exec.Command(filepath.Join(testenv.Root(), "hack", "assets.sh"), "kubectl").Output()
	if err != nil {
		t.Fatalf("hack/assets.sh kubectl: %v", err)
	}
	config, _ := testenv.Start(t)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	access := clientcmdapi.NewConfig()
	access.Clusters["test"] = &clientcmdapi.Cluster{Server: "https://" + strings.TrimPrefix(config.Host, "https://"), CertificateAuthorityData: config.CAData}
	access.AuthInfos["test"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	access.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	access.CurrentContext = "test"
	if err := clientcmd.WriteToFile(*access, file); err != nil {
		t.Fatal(err)
	}
	return exec.Command(filepath.Join(strings.TrimSpace(string(dir)), "kubectl"), append([]string{"--kubeconfig", file}, args...)...)
}

// The real kubectl waits for what it does not know of.
func TestKubectlDrain(t *testing.T) {
	for name, flag := range map[string]string{"by eviction": "--ignore-daemonsets", "by deletion": "--disable-eviction"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.manager(eviction.Options{})
			w.markerIs("stands")
			one, two := w.pod("one"), w.pod("two")

			type result struct {
				out string
				err error
			}
			ended := make(chan result, 1)
			drain := kubectl(t, "drain", node, flag, "--timeout=60s")
			go func() {
				out, err := drain.CombinedOutput()
				ended <- result{string(out), err}
			}()
			w.podIs(one, "deleting DeletionByDrain")
			w.podIs(two, "deleting DeletionByDrain")
			w.letGo(one)
			select {
			case r := <-ended:
				t.Fatalf("kubectl drain ended although a MiniPod is left: %v\n%s", r.err, r.out)
			case <-time.After(3 * time.Second): // kubectl looks every second
			}
			w.letGo(two)
			r := <-ended
			if r.err != nil || !strings.Contains(r.out, "node/"+node+" drained") {
				t.Errorf("kubectl drain: %v\n%s", r.err, r.out)
			}
			w.markerIs("none")

			// There is nothing left to wait for.
			if out, err := kubectl(t, "drain", node, flag, "--timeout=10s").CombinedOutput(); err != nil {
				t.Errorf("a second time: %v\n%s", err, out)
			}
			if out, err := kubectl(t, "uncordon", node).CombinedOutput(); err != nil {
				t.Errorf("uncordon: %v\n%s", err, out)
			}
			w.markerIs("stands")
		})
	}
}

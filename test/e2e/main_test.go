package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"miniplane.dev/miniplane/test/testenv"
)

// The images that the tests run; they must be on every node.
const (
	imageV1 = "miniplane.dev/echo:v1"
	imageV2 = "miniplane.dev/echo:v2"
	busybox = "miniplane.dev/busybox:v1"
	// busyboxVolume is the same with a VOLUME /data.
	busyboxVolume = "miniplane.dev/busybox:volume"
	image80       = "miniplane.dev/web:v1"
)

var (
	kubeconfig string
	restConfig *rest.Config
	cluster    substrate
	api        client.WithWatch
)

// substrates are the clusters that the suite knows how to reach into, by E2E_SUBSTRATE.
var substrates = map[string]substrate{"local": localCluster{}, "full": fullCluster{}, "kind": kindCluster{}}

func TestMain(m *testing.M) {
	ctrl.SetLogger(zap.New())
	if err := connect(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\ne2e: start a cluster with `make cluster-up`, or set KUBECONFIG\n", err)
		os.Exit(1)
	}
	os.Exit(run(m))
}

// run keeps what kubectl learns of the API apart from other clusters: kubectl believes it for six hours, and a cluster of
// another version may have stood at the same address before.
func run(m *testing.M) int {
	cache, err := os.MkdirTemp("", "e2e-kubectl-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(cache)
	os.Setenv("KUBECACHEDIR", cache)
	return m.Run()
}

func connect() (err error) {
	kubeconfig = os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		kubeconfig = filepath.Join(testenv.Root(), ".local", "kubeconfig")
	}
	if kubeconfig, err = filepath.Abs(kubeconfig); err != nil {
		return err
	}
	if restConfig, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return err
	}
	restConfig.QPS, restConfig.Burst = -1, -1
	if api, err = client.NewWithWatch(restConfig, client.Options{Scheme: testenv.Scheme()}); err != nil {
		return err
	}
	name := cmp.Or(os.Getenv("E2E_SUBSTRATE"), "local")
	if cluster = substrates[name]; cluster == nil {
		return fmt.Errorf("E2E_SUBSTRATE=%s is none of local, full, kind", name)
	}
	return nil
}

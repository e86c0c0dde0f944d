package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/leaks"
	"miniplane.dev/miniplane/test/testenv"
)

// node is a machine of the cluster, as tests reach it.
type node struct{ name, ip string }

// substrate is the cluster below miniplane: how to reach its nodes, and how to break it.
type substrate interface {
	// nodes lists the nodes with an agent, by name.
	nodes(t *testing.T) []node
	// nodeExec runs a shell script in a node's network namespace and returns what it printed.
	nodeExec(node, script string) (string, error)
	// fault does one thing to the cluster, as in ("agent-kill", "mini-0").
	fault(t *testing.T, verb string, args ...string)
	// traces lists what MiniPods have on a node while they live, as package leaks tells it.
	traces(t *testing.T, node string) []string
	// registry is one that the nodes can pull from, with the echo image as open/echo:v1 for everybody, and as
	// private/echo:v1 for one user.
	registry() (host, user, password string)
	// missing tells what a cluster of this kind cannot have, and where it is to be had.
	missing() map[need]string
}

// need is what some tests need, and not every kind of cluster has.
type need string

const (
	severalNodes need = "several nodes"
	kubelet      need = "a kubelet, which runs native Pods"
	applications need = "the images of real applications"
	controllers  need = "Kubernetes' own controllers, which tell everybody the API server's address and certificate"
)

// needs skips a test on clusters that cannot have something, and says where the test does run.
func needs(t *testing.T, what need) {
	t.Helper()
	if why, isMissing := cluster.missing()[what]; isMissing {
		t.Skipf("NOT RUN HERE, it needs %s: %s", what, why)
	}
}

// long skips, with -short, a test that takes long and finds the same on every cluster: one of the suites that are run leaves it out.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: it takes long, and -short was given")
	}
}

// localCluster is the one that hack/cluster runs: a node is a network namespace of its name.
type localCluster struct{}

func (localCluster) missing() map[need]string {
	return map[need]string{kubelet: "a local cluster has none; full and kind have", controllers: "a local cluster has none; full and kind have",
		applications: "only a full cluster's node gets them (hack/e2e-full.sh)"}
}

func (localCluster) nodes(t *testing.T) []node {
	t.Helper()
	var list miniv1.MiniNodeList
	if err := api.List(context.Background(), &list); err != nil {
		t.Fatal(err)
	}
	var out []node
	for _, n := range list.Items {
		if n.Status.NodeIP != "" {
			out = append(out, node{n.Name, n.Status.NodeIP})
		}
	}
	slices.SortFunc(out, func(a, b node) int { return strings.Compare(a.name, b.name) })
	return out
}

func (localCluster) nodeExec(node, script string) (string, error) {
	out, err := clusterCommand("exec", node, script).CombinedOutput()
	return string(out), err
}

func (localCluster) fault(t *testing.T, verb string, args ...string) {
	t.Helper()
	if out, err := clusterCommand(append([]string{verb}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", verb, args, err, out)
	}
}

func (localCluster) registry() (host, user, password string) {
	return "100.127.255.1:5000", "mini", "plane"
}

func clusterCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(testenv.Root(), "bin", "cluster"), args...)
	cmd.Dir = testenv.Root()
	return cmd
}

func (c localCluster) traces(t *testing.T, node string) []string {
	return tracesIn(t, c, node, leaks.Local(node))
}

// tracesIn has the one checker of what MiniPods leave look at a node.
func tracesIn(t *testing.T, on substrate, node string, places leaks.Places) []string {
	t.Helper()
	out, err := on.nodeExec(node, places.Script())
	if err != nil {
		t.Fatalf("looking at %s: %v\n%s", node, err, out)
	}
	return leaks.Parse(out)
}

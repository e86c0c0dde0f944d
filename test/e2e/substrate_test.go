package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
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
	// traces lists what MiniPods leave in the kernel and the runtime of a node while they live, one a line, sorted: links,
	// routes, service chains, cgroups, pins, containers, snapshots, shims.
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
)

// needs skips a test on clusters that cannot have something, and says where the test does run.
func needs(t *testing.T, what need) {
	t.Helper()
	if why, isMissing := cluster.missing()[what]; isMissing {
		t.Skipf("NOT RUN HERE, it needs %s: %s", what, why)
	}
}

// localCluster is the one that hack/cluster runs: a node is a network namespace of its name.
type localCluster struct{}

func (localCluster) missing() map[need]string {
	return map[need]string{kubelet: "a local cluster has none; full and kind have"}
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

// The state of a node of the local cluster is below these directories.
const (
	localRun    = "/run/miniplane-local"
	localCgroup = "miniplane-local"
)

func (c localCluster) traces(t *testing.T, node string) []string {
	t.Helper()
	script := fmt.Sprintf(`
		ip -o link | awk '{print "link " $2}' | sed 's/@.*//' | grep 'link mini' | grep -v vxlan || true
		ip route | grep 'dev mini' | sed 's/^/route /' || true
		iptables-save | grep -o '^:MINI-[A-Z]*-[A-Z0-9]*' | sed 's/^/chain /' || true
		find /sys/fs/cgroup -path '*/%[1]s/%[2]s/*' -type d | grep -v '/pause$' | sed 's/^/cgroup /' # pauses share one
		grep -o '%[3]s/%[2]s/agent/[^ ]*' /proc/self/mountinfo | sed 's/^/mount /' || true
		ctr -a %[3]s/%[2]s/containerd.sock -n miniplane containers ls -q 2>/dev/null | sed 's/^/container /'
		ctr -a %[3]s/%[2]s/containerd.sock -n miniplane snapshots ls 2>/dev/null | awk 'NR>1 && $3=="Active" {print "snapshot " $1}'
		ls -d %[3]s/%[2]s/agent/shim-*/c/* 2>/dev/null | sed 's/^/shim has /' || true
		pgrep -fa '[c]ontainerd-shim.*%[2]s/' | grep -v ' serve *$' | sed 's/^/shim /' || true`, localCgroup, node, localRun)
	out, err := c.nodeExec(node, script)
	if err != nil {
		t.Fatalf("looking at %s: %v\n%s", node, err, out)
	}
	return sortedLines(out)
}

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// whatIsLeft prints what an agent that has left should have taken with it.
const whatIsLeft = `
	ip -o link | awk '{print "link " $2}' | grep 'link mini'
	ip route | grep mini | sed 's/^/route /'
	iptables-save | grep -o '^:MINI-[A-Z0-9-]*' | sed 's/^/chain /'
	find /sys/fs/cgroup/*/miniplane /sys/fs/cgroup/miniplane -maxdepth 0 2>/dev/null | sed 's/^/cgroup /'
	grep -o '/run/miniplane/[^ ]*' /proc/self/mountinfo | sed 's/^/mount /'
	ctr --address /run/containerd/containerd.sock --namespace miniplane containers ls -q | sed 's/^/container /'
	ls /run/miniplane /var/lib/miniplane 2>/dev/null | grep -v -e '^/' -e '^$' | sed 's/^/file /'
	exit 0`

// An agent that leaves takes the images of MiniPods with it, and nobody has the tests' ones to pull. ctr may end before all that containerd
// sends it is in the file, so that the end of the archive is looked for.
const (
	keepImages = `ctr="ctr --address /run/containerd/containerd.sock --namespace miniplane" file=/tmp/e2e-leave.tar
		for try in 1 2 3 4 5; do
			$ctr images ls -q | grep -v sha256: | xargs $ctr images export $file || exit 1
			! tar -tf $file | grep -qx oci-layout || exit 0
		done
		echo "the archive has no end" && exit 1`
	bringImages = `ctr --address /run/containerd/containerd.sock --namespace miniplane images import /tmp/e2e-leave.tar && rm /tmp/e2e-leave.tar`
)

// The label that the DaemonSet asks for is taken off a node: its MiniPods are moved, and then the agent leaves nothing behind. With the
// label it is back, and so are they.
func TestAgentLeavesANodeThatIsNotWanted(t *testing.T) {
	needs(t, kubelet)
	companion(t)
	nodes := cluster.nodes(t)
	leaves := nodes[len(nodes)-1].name
	selector := func(value string) {
		kubectl(t, systemNamespace, "patch", "ds/miniplane-agent", "--type=merge",
			`--patch={"spec":{"template":{"spec":{"nodeSelector":{"e2e-lane":`+value+`}}}}}`)
	}
	for _, n := range nodes {
		kubectl(t, "", "label", "node", n.name, "e2e-lane=yes", "--overwrite")
	}
	t.Cleanup(func() {
		selector("null")
		for _, n := range nodes {
			kubectl(t, "", "label", "node", n.name, "e2e-lane-")
		}
		rolledOut(t, "ds/miniplane-agent")
		for _, n := range nodes {
			waitNode(t, n.name, true, patience)
		}
	})
	check := stable(t, namespace(t), 3)
	selector(`"yes"`)
	rolledOut(t, "ds/miniplane-agent")
	check() // that was an upgrade like any other

	ns := namespace(t)
	apply(t, ns, deployment("web", 3, imageV1))
	waitReady(t, ns, 3, patience)
	if out, err := cluster.nodeExec(leaves, keepImages); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kubectl(t, "", "label", "node", leaves, "e2e-lane-")
	took := eventually(t, 2*patience, "", &miniv1.MiniNodeList{}, "the MiniNode gone", func() (bool, string) {
		node := &miniv1.MiniNode{}
		err := api.Get(context.Background(), client.ObjectKey{Name: leaves}, node)
		return apierrors.IsNotFound(err), fmt.Sprint(node.Status.Conditions, err)
	})
	t.Logf("the agent had left %.1f s after the label", took.Seconds())
	if on := onNode(pods(t, ns))[leaves]; on != 0 {
		t.Errorf("%d MiniPods are still bound to %s", on, leaves)
	}
	if n := len(pods(t, ns)); n != 3 {
		t.Errorf("%d MiniPods, want 3, here or elsewhere", n)
	}
	left, err := cluster.nodeExec(leaves, whatIsLeft)
	if left = strings.TrimSpace(left); err != nil || left != "" {
		t.Errorf("left behind: %v\n%s", err, left)
	}

	if out, err := cluster.nodeExec(leaves, bringImages); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kubectl(t, "", "label", "node", leaves, "e2e-lane=yes")
	waitNode(t, leaves, true, patience)
	waitReady(t, ns, 3, patience)
}

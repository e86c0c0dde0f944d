package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// systemNamespace is where config/default puts the manager and the agents.
const systemNamespace = "miniplane-system"

// kindCluster is one that hack/kind.sh made: a node is a container of its name, with a kubelet and a containerd in it, and
// miniplane's parts are Pods, which are started again by others than this suite.
type kindCluster struct{}

func (kindCluster) nodes(t *testing.T) []node { return localCluster{}.nodes(t) }

func (kindCluster) nodeExec(node, script string) (string, error) {
	out, err := exec.Command("docker", "exec", node, "sh", "-c", script).CombinedOutput()
	return string(out), err
}

// registry runs in the control plane's container; agents find it by Docker's names.
func (c kindCluster) registry() (host, user, password string) {
	return c.controlPlane() + ":5000", "mini", "plane"
}

func (kindCluster) controlPlane() string { return "miniplane-control-plane" }

// must runs a script in a node.
func (c kindCluster) must(t *testing.T, node, script string) {
	t.Helper()
	if out, err := c.nodeExec(node, script); err != nil {
		t.Fatalf("on %s: %v\n%s\n%s", node, err, script, out)
	}
}

func (c kindCluster) fault(t *testing.T, verb string, args ...string) {
	t.Helper()
	switch strings.Join(append([]string{verb}, args[:min(1, len(args))]...), " ") {
	case "manager-kill":
		pod := c.leader(t)
		c.kill(t, &pod)
		return
	case "manager-start": // by the kubelet; the other manager does not wait for it
		return
	case "apiserver-stop":
		c.must(t, c.controlPlane(), stopAPIServer)
		return
	case "apiserver-start":
		c.must(t, c.controlPlane(), startAPIServer)
		return
	}
	if len(args) != 1 {
		t.Fatalf("no fault %s %v", verb, args)
	}
	c.nodeFault(t, verb, args[0])
}

// nodeFault is one of a single node.
func (c kindCluster) nodeFault(t *testing.T, verb, node string) {
	t.Helper()
	switch verb {
	case "agent-kill":
		pod := c.agent(t, node)
		c.kill(t, &pod)
	case "agent-restart":
		c.restartAgent(t, node)
	case "containerd-restart":
		c.must(t, node, "kill -9 $(systemctl show --property=MainPID --value containerd) && systemctl restart containerd")
	case "node-stop":
		c.leadFromElsewhere(t, node)
		docker(t, "kill", node)
	case "node-start":
		docker(t, "start", node)
	default:
		t.Fatalf("no fault %s", verb)
	}
}

func docker(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
		t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
}

// The kubelet starts its own API server from a manifest, and would start it again after a mere kill. It is killed first: one
// that ends in order takes its address from the service "kubernetes" too, and then it is kube-proxy that is waited for.
const (
	stopAPIServer = `cd /etc/kubernetes && pkill -9 -x kube-apiserver && mv manifests/kube-apiserver.yaml .
		for i in $(seq 300); do
			crictl ps --quiet --name '^kube-apiserver$' | xargs -r crictl stop --timeout 0 >/dev/null
			[ -n "$(crictl pods --quiet --state ready --name '^kube-apiserver-')" ] || exit 0
			sleep 0.1
		done
		exit 1`
	startAPIServer = `cd /etc/kubernetes && { [ -e manifests/kube-apiserver.yaml ] || mv kube-apiserver.yaml manifests/; }
		for i in $(seq 600); do
			kubectl --kubeconfig=admin.conf get --raw=/readyz >/dev/null 2>&1 && exit 0
			sleep 0.1
		done
		exit 1`
)

// systemPods lists the Pods of one of miniplane's components.
func (kindCluster) systemPods(t *testing.T, component string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	labels := client.MatchingLabels{"app.kubernetes.io/name": "miniplane", "app.kubernetes.io/component": component}
	if err := api.List(context.Background(), &list, client.InNamespace(systemNamespace), labels); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// agent is the Pod of a node's agent.
func (c kindCluster) agent(t *testing.T, node string) corev1.Pod {
	t.Helper()
	for _, pod := range c.systemPods(t, "agent") {
		if pod.Spec.NodeName == node && pod.DeletionTimestamp == nil {
			return pod
		}
	}
	t.Fatalf("%s has no agent", node)
	return corev1.Pod{}
}

// leader is the Pod of the manager that works; the Lease has its name, an underscore, and something random.
func (c kindCluster) leader(t *testing.T) corev1.Pod {
	t.Helper()
	var lease coordinationv1.Lease
	if err := api.Get(context.Background(), client.ObjectKey{Namespace: systemNamespace, Name: "miniplane-manager"}, &lease); err != nil {
		t.Fatal(err)
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder, _, _ = strings.Cut(*lease.Spec.HolderIdentity, "_")
	}
	for _, pod := range c.systemPods(t, "manager") {
		if pod.Name == holder {
			return pod
		}
	}
	t.Fatalf("no Pod of a manager is called %q, which leads", holder)
	return corev1.Pod{}
}

// kill ends the process of a Pod's container as a crash would, without the kubelet knowing beforehand.
func (c kindCluster) kill(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if !containerRunning(pod) {
		t.Fatalf("%s is not running: %+v", pod.Name, pod.Status.ContainerStatuses)
	}
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	c.must(t, pod.Spec.NodeName, "ctr --namespace k8s.io tasks kill --signal SIGKILL "+id)
}

func containerRunning(pod *corev1.Pod) bool {
	return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Running != nil
}

// restartAgent kills an agent, and replaces its Pod: a kubelet starts a container that dies often ever later, and the faults
// of one test are meant to follow each other.
func (c kindCluster) restartAgent(t *testing.T, node string) {
	t.Helper()
	old := c.agent(t, node)
	c.kill(t, &old)
	if err := api.Delete(context.Background(), &old, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	eventually(t, patience, systemNamespace, &corev1.PodList{}, "the next agent of "+node, func() (bool, string) {
		for _, pod := range c.systemPods(t, "agent") {
			if pod.Spec.NodeName == node && pod.UID != old.UID {
				return containerRunning(&pod), fmt.Sprint(pod.Status.Phase)
			}
		}
		return false, "none"
	})
}

// leadFromElsewhere has a manager on another node lead. That a manager is lost with a node, and how long the next one waits
// then before it leads, is Kubernetes' affair and no part of how long it takes to replace MiniPods.
func (c kindCluster) leadFromElsewhere(t *testing.T, node string) {
	t.Helper()
	leader := c.leader(t)
	if leader.Spec.NodeName != node {
		return
	}
	if !slices.ContainsFunc(c.systemPods(t, "manager"), func(p corev1.Pod) bool { return p.Spec.NodeName != node && containerRunning(&p) }) {
		t.Fatalf("no manager runs on another node than %s", node)
	}
	kubectl(t, systemNamespace, "delete", "pod", leader.Name) // it gives its Lease back
	eventually(t, patience, systemNamespace, &coordinationv1.LeaseList{}, "another manager to lead", func() (bool, string) {
		var lease coordinationv1.Lease
		err := api.Get(context.Background(), client.ObjectKey{Namespace: systemNamespace, Name: "miniplane-manager"}, &lease)
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false, fmt.Sprint(err)
		}
		holder := *lease.Spec.HolderIdentity
		return holder != "" && !strings.HasPrefix(holder, leader.Name+"_"), holder
	})
	leader = c.leader(t)
	if leader.Spec.NodeName == node {
		t.Fatalf("%s leads, which is on %s too", leader.Name, node)
	}
}

// traces are found in all of the node's namespaces.
func (c kindCluster) traces(t *testing.T, node string) []string {
	t.Helper()
	out, err := c.nodeExec(node, `
		ip -o link | awk '{print "link " $2}' | sed 's/@.*//' | grep 'link mini' | grep -v vxlan
		ip route | grep 'dev mini' | sed 's/^/route /'
		iptables-save | grep -o '^:MINI-[A-Z]*-[A-Z0-9]*' | sed 's/^/chain /'
		find /sys/fs/cgroup -path '*/miniplane/*' -type d | grep -v '/pause$' | sed 's/^/cgroup /' # pauses share one
		grep -o '/run/miniplane/[^ ]*' /proc/self/mountinfo | sed 's/^/mount /'
		ctr --namespace miniplane containers ls -q 2>/dev/null | sed 's/^/container /'
		ctr --namespace miniplane snapshots ls 2>/dev/null | awk 'NR>1 && $3=="Active" {print "snapshot " $1}'
		pgrep -fa '[c]ontainerd-shim.* -namespace miniplane ' | sed 's/^/shim /'
		exit 0`)
	if err != nil {
		t.Fatalf("looking at %s: %v\n%s", node, err, out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return slices.DeleteFunc(lines, func(l string) bool { return l == "" })
}

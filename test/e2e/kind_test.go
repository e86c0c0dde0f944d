package e2e

import (
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"miniplane.dev/miniplane/test/leaks"
)

// kindCluster is one that hack/kind.sh made: a node is a container of its name, with a kubelet and a containerd in it, and
// miniplane's parts are Pods, which are started again by others than this suite.
type kindCluster struct{}

func (kindCluster) missing() map[need]string {
	return map[need]string{applications: "only a full cluster's node gets them (hack/e2e-full.sh)"}
}

func (kindCluster) nodes(t *testing.T) []node { return localCluster{}.nodes(t) }

func (kindCluster) nodeExec(node, script string) (string, error) {
	// ctr's words about what the node's containerd should not have are no answer to any test.
	out, err := exec.Command("docker", "exec", "--env", "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=true", node, "sh", "-c", script).CombinedOutput()
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
		pod := leader(t)
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
		pod := agentPod(t, node)
		c.kill(t, &pod)
	case "agent-restart":
		restartAgent(t, node, c.kill)
	case "kube-proxy-restart":
		restartPod(t, "kube-system", "k8s-app=kube-proxy", node)
	case "kubelet-restart":
		c.must(t, node, "systemctl restart kubelet")
	case "containerd-restart":
		c.must(t, node, "kill -9 $(systemctl show --property=MainPID --value containerd) && systemctl restart containerd")
	case "node-stop":
		leadFromElsewhere(t, node)
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

// kill ends the process of a Pod's container as a crash would, without the kubelet knowing beforehand.
func (c kindCluster) kill(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	c.must(t, pod.Spec.NodeName, killScript(t, pod))
}

// traces are found in all of the node's namespaces.
func (c kindCluster) traces(t *testing.T, node string) []string {
	return tracesIn(t, c, node, leaks.Installed())
}

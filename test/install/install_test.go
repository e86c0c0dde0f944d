package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/test/testenv"
)

const (
	system = "miniplane-system"
	node   = "mini-0"
)

// command runs a program in the root of the tree.
func command(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = testenv.Root()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, "kubectl", args...)
}

// onNode runs a script on the node.
func onNode(t *testing.T, script string) string {
	t.Helper()
	return must(t, filepath.Join("bin", "cluster"), "exec", node, script)
}

func TestMain(m *testing.M) {
	if out, err := command("kubectl", "get", "node", node); err != nil {
		fmt.Fprintf(os.Stderr, "install: no full cluster (%v: %s); run hack/e2e-full.sh\n", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// inventory prints all that miniplane could have made on the node: what is there of each kind, whatever its name, except for what
// native Pods, which come and go with it, have too.
const inventory = `
	ip -o link | awk '{print "link " $2}' | grep -v veth
	ip route | grep -v 'dev veth' | sed 's/^/route /'
	ip rule | sed 's/^/rule /'
	for table in nat filter mangle raw; do iptables-save -t $table; done | grep '^:' | grep -v -e KUBE- -e CNI- | awk '{print "chain " $1}'
	for table in nat filter mangle raw; do iptables-save -t $table; done | grep -i -e mini- -e miniplane | sed 's/^/rule /'
	ls /run/netns | grep -v -e '^cni-' -e '^mini[0-9]-' | sed 's/^/namespace /'
	find /sys/fs/cgroup -type d -name 'miniplane' | sed 's/^/cgroup /'
	grep -e /run/miniplane/ -e /var/lib/miniplane/ /proc/self/mountinfo | grep -v /var/lib/kubelet | awk '{print "mount " $5}'
	find /run/miniplane /var/lib/miniplane -mindepth 1 2>/dev/null | sed 's/^/file /'
	ctr --address /run/containerd/containerd.sock namespaces ls -q 2>/dev/null | sed 's/^/containerd namespace /'
	ls -d /run/containerd/runc/miniplane 2>/dev/null | sed 's/^/file /'
	for process in $(grep -l -e /miniplane-local -e ':/miniplane/' /proc/[0-9]*/cgroup 2>/dev/null | grep -o '[0-9]*'); do
		words=$(cat /proc/$process/cmdline 2>/dev/null | tr '\0' ' ')
		case $words in
		*'for process in'*) ;; # this script, which has all these words
		nodeagent*|*/nodeagent*|*/var/lib/miniplane/bin/*|*'-namespace miniplane '*) echo "process $words" ;;
		esac
	done
	exit 0`

// bare is the inventory of the node before miniplane comes. The tests' images are loaded for MiniPods already, into their
// namespace of containerd, which goes with miniplane: so it is taken out here, and loaded anew for every test.
func bare(t *testing.T) []string {
	t.Helper()
	for _, image := range []string{"echo", "busybox"} {
		must(t, "make", "--no-print-directory", "image-load", "TAR=.local/images/"+image+".tar")
	}
	return slices.DeleteFunc(machine(t), func(line string) bool { return line == "containerd namespace miniplane" })
}

func machine(t *testing.T) []string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(onNode(t, inventory)), "\n")
	slices.Sort(lines)
	return slices.Compact(lines)
}

// asBefore waits until the node is as it was before, for nobody tells when the last Pod's link is gone.
func asBefore(t *testing.T, before []string) {
	t.Helper()
	var diff string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		if diff = cmp.Diff(before, machine(t)); diff == "" {
			return
		}
	}
	t.Errorf("the node is not as it was (-before +after):\n%s", diff)
}

// ready waits until the installation works: the manager, the agents, their lanes.
func ready(t *testing.T) {
	t.Helper()
	for _, what := range []string{"deployment/miniplane-manager", "daemonset/miniplane-agent"} {
		kubectl(t, "-n", system, "rollout", "status", what, "--timeout=2m")
	}
	kubectl(t, "wait", "mininode", node, "--for=condition=Ready", "--timeout=1m")
}

// samples applies config/samples at once, as a new user does, waits until all of it is ready, and asks the service.
func samples(t *testing.T) {
	t.Helper()
	kubectl(t, "apply", "-f", "config/samples")
	kubectl(t, "wait", "minideployment/web", "--for=condition=Available", "--timeout=1m")
	kubectl(t, "wait", "minireplicaset/workers", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=1m")
	kubectl(t, "wait", "minijob/pieces", "--for=condition=complete", "--timeout=1m")
	kubectl(t, "wait", "minipods", "-l", "!job-name", "--for=condition=Ready", "--timeout=1m")
	address := kubectl(t, "get", "miniservice", "web", "-o", "jsonpath={.status.clusterIP}")
	if out := onNode(t, "timeout 5 busybox wget -qO- http://"+address+":8881/"); !strings.Contains(out, "host=web-") {
		t.Errorf("the service answered %q", out)
	}
	usesSecret(t)
}

// usesSecret has a MiniPod that names a Secret, so that its node is given the right to read it, and sees that it is.
func usesSecret(t *testing.T) {
	t.Helper()
	manifest := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(manifest, []byte(`
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: uses-a-secret}
spec:
  imagePullSecrets: [{name: pull}]
  containers: # the samples' quota wants to know what it takes
  - {name: echo, image: "miniplane.dev/echo:v1", resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 100m, memory: 64Mi}}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "-f", manifest)
	kubectl(t, "wait", "minipod/uses-a-secret", "--for=condition=Ready", "--timeout=1m")
	kubectl(t, "wait", "role/miniplane:node:"+node, "--for=create", "--timeout=1m")
	can := func(account string) string {
		out, _ := command("kubectl", "auth", "can-i", "get", "secret/pull", "--as=system:serviceaccount:"+account) // "no" is an error
		return strings.TrimSpace(out)
	}
	for account, want := range map[string]string{"miniplane-nodes:" + node: "yes", system + ":miniplane-agent": "no", system + ":miniplane-manager": "no"} {
		if got := can(account); !strings.HasPrefix(got, want) {
			t.Errorf("may %s read it: %s, want %s", account, got, want)
		}
	}
}

// runs is what would change if a container were started again.
func runs(t *testing.T) string {
	t.Helper()
	return kubectl(t, "get", "minipods", "-A", "--sort-by=.metadata.name", "-o", `jsonpath={range .items[*]}{.metadata.name} `+
		`{.status.podIP} {.status.containerStatuses[*].containerID} {.status.containerStatuses[*].state.running.startedAt}{"\n"}{end}`)
}

// refused tries what the guard must refuse while MiniPods run.
func refused(t *testing.T, args ...string) {
	t.Helper()
	out, err := command("kubectl", args...)
	if err == nil || !strings.Contains(out, "miniplane is in use") {
		t.Errorf("kubectl %s: %v\n%s\nwant it refused", strings.Join(args, " "), err, out)
	}
}

// gone checks that the API server has nothing of miniplane any more.
func gone(t *testing.T, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		out := kubectl(t, "get", kind, "-A", "-o", "name", "--ignore-not-found", "-l", "app.kubernetes.io/part-of=miniplane")
		if strings.TrimSpace(out) != "" {
			t.Errorf("left: %s", out)
		}
	}
	if out := kubectl(t, "get", "roles,rolebindings", "-A", "-o", "name", "-l", "miniplane.dev/grant"); strings.TrimSpace(out) != "" {
		t.Errorf("left: %s", out)
	}
	if out := kubectl(t, "get", "namespaces"); strings.Contains(out, system) || strings.Contains(out, "miniplane-nodes") || strings.Contains(out, "Terminating") {
		t.Errorf("namespaces:\n%s", out)
	}
}

var allKinds = []string{"customresourcedefinitions", "clusterroles", "clusterrolebindings", "validatingadmissionpolicies",
	"validatingadmissionpolicybindings", "deployments", "daemonsets", "serviceaccounts"}

func TestKustomize(t *testing.T) {
	before := bare(t)
	kubectl(t, "apply", "-k", "config/default")
	ready(t)
	samples(t)
	refused(t, "delete", "namespace", system)
	refused(t, "-n", system, "delete", "daemonset", "miniplane-agent")
	refused(t, "delete", "crd", "minipods.miniplane.dev")

	kubectl(t, "apply", "-k", "config/uninstall")
	kubectl(t, "-n", system, "wait", "job/miniplane-uninstall", "--for=condition=Complete", "--timeout=3m")
	kubectl(t, "delete", "-k", "config/default", "--timeout=3m")
	gone(t, allKinds...)
	asBefore(t, before)
}

func TestHelm(t *testing.T) {
	before := bare(t)
	release := []string{"miniplane", "--namespace", system}
	must(t, "helm", append([]string{"install"}, append(release, "charts/miniplane", "--create-namespace", "--wait", "--timeout", "3m")...)...)
	ready(t)
	samples(t)

	ran := runs(t)
	must(t, "helm", append([]string{"upgrade"}, append(release, "charts/miniplane", "--set", "agent.maxPods=400", "--wait", "--timeout", "3m")...)...)
	ready(t)
	if diff := cmp.Diff(ran, runs(t)); diff != "" || ran == "" {
		t.Errorf("containers changed at the upgrade (-before +after):\n%s", diff)
	}
	if pods := kubectl(t, "get", "mininode", node, "-o", "jsonpath={.status.allocatable.minipods}{.status.allocatable.pods}"); !strings.Contains(pods, "400") {
		t.Errorf("the upgrade did not reach the agent: it takes %q MiniPods", pods)
	}

	must(t, "helm", append([]string{"uninstall"}, append(release, "--timeout", "5m", "--wait")...)...)
	kubectl(t, "delete", "crd", "-l", "app.kubernetes.io/part-of=miniplane", "--timeout=1m")
	kubectl(t, "delete", "namespace", system, "--timeout=3m")
	gone(t, allKinds...)
	asBefore(t, before)
}

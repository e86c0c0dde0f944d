package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// The tests in this file are about miniplane beside the kubelet and kube-proxy of the same node.

// asNative turns a MiniDeployment's manifest into one of a Deployment, by nothing but apiVersion and kind.
func asNative(manifest string) string {
	return strings.NewReplacer("miniplane.dev/v1alpha1", "apps/v1", "kind: MiniDeployment", "kind: Deployment").Replace(manifest)
}

// webs are echo servers as native Pods and as MiniPods, each behind a service of its own lane, and a native Pod to ask from.
type webs struct {
	t              *testing.T
	ns             string
	native, mini   []string // names of the Pods and MiniPods that answer
	nativeIP       string   // virtual IPs
	miniIP         string
	nativePod      corev1.Pod // one of those
	natives, minis string     // URLs
}

func newWebs(t *testing.T) *webs {
	t.Helper()
	needs(t, kubelet)
	w := &webs{t: t, ns: namespace(t)}
	apply(t, w.ns, deployment("mini", 2, imageV1)+`
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniService
metadata: {name: mini}
spec:
  selector: {app: mini}
  ports: [{port: 80, targetPort: http}]
---`+asNative(deployment("native", 2, imageV1))+`
---
apiVersion: v1
kind: Service
metadata: {name: native}
spec:
  selector: {app: native}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: client, image: `+busybox+`, command: [sleep, "100000"]}
`)
	w.miniIP = waitService(t, w.ns, "mini", 2).Status.ClusterIP
	w.mini = names(pods(t, w.ns))
	eventually(t, patience, w.ns, &corev1.PodList{}, "3 native Pods to be ready", func() (bool, string) {
		w.native = w.native[:0]
		list := w.nativePods()
		for i := range list {
			pod := &list[i]
			if podReady(pod) && pod.Labels["app"] == "native" {
				w.native, w.nativePod = append(w.native, pod.Name), *pod
			}
		}
		return len(w.native) == 2 && slices.ContainsFunc(list, func(p corev1.Pod) bool { return p.Name == "client" && podReady(&p) }), fmt.Sprint(w.native)
	})
	service := &corev1.Service{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "native"}, service); err != nil {
		t.Fatal(err)
	}
	w.nativeIP = service.Spec.ClusterIP
	w.natives, w.minis = "http://"+w.nativeIP+"/", "http://"+w.miniIP+"/"
	return w
}

func (w *webs) nativePods() []corev1.Pod {
	w.t.Helper()
	var list corev1.PodList
	if err := api.List(context.Background(), &list, client.InNamespace(w.ns)); err != nil {
		w.t.Logf("listing Pods: %v", err)
	}
	return list.Items
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// answer waits until all backends of both services have answered on the nodes: nobody tells when a proxy has made its rules.
func (w *webs) answer(when string) {
	w.t.Helper()
	for _, node := range cluster.nodes(w.t) {
		for url, backends := range map[string][]string{w.natives: w.native, w.minis: w.mini} {
			missing, deadline := slices.Clone(backends), time.Now().Add(patience)
			for len(missing) > 0 {
				out, err := cluster.nodeExec(node.name, "timeout 2 busybox wget -qO- "+url)
				missing = slices.DeleteFunc(missing, func(name string) bool { return err == nil && strings.Contains(out, name) })
				if time.Now().After(deadline) {
					w.t.Fatalf("%s: %v never answered on %s at %s: %v\n%s", when, missing, node.name, url, err, out)
				}
			}
		}
	}
}

// check asks everybody from everywhere: nodes, MiniPods and native Pods.
func (w *webs) check(when string) {
	w.t.Helper()
	w.answer(when)
	for i, node := range cluster.nodes(w.t) {
		fetch(w.t, node.name, w.natives, w.native)
		fetch(w.t, node.name, w.minis, w.mini)
		name := fmt.Sprintf("%s-%d", strings.ReplaceAll(when, " ", "-"), i)
		insideOf(w.t, w.ns, node.name, name+"-service", w.natives, w.native)
		insideOf(w.t, w.ns, node.name, name+"-pod", "http://"+w.nativePod.Status.PodIP+":8080/", []string{w.nativePod.Name})
	}
	script := "for i in $(seq 60); do timeout 5 wget -qO- " + w.minis + "; echo; done"
	out, err := tryKubectl(w.t, w.ns, "", "exec", "client", "--", "sh", "-c", script)
	if err != nil {
		w.t.Errorf("%s: the MiniService's virtual IP from a native Pod: %v\n%.2000s", when, err, out)
	}
	for _, name := range w.mini {
		if !strings.Contains(out, name) {
			w.t.Errorf("%s: %s never answered a native Pod:\n%.2000s", when, name, out)
		}
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// Native Pods and Services and MiniPods and MiniServices reach each other, whoever of kube-proxy and the agent starts last.
func TestNativeAndMiniReachEachOther(t *testing.T) {
	w := newWebs(t)
	w.check("at first")
	for _, node := range cluster.nodes(t) {
		cluster.fault(t, "kube-proxy-restart", node.name)
	}
	w.check("after kube-proxy")
	for _, node := range cluster.nodes(t) {
		cluster.fault(t, "agent-restart", node.name)
		waitNode(t, node.name, true, patience)
	}
	w.check("after the agent")
}

// forgetServices removes the chains of both proxies from a node, as a restart of the machine does, and nobody else's.
const forgetServices = `for table in nat filter mangle; do
	iptables-save -t $table | grep -v -e MINI- -e KUBE- | iptables-restore -T $table
done`

// Each of the two proxies makes its own rules anew beside the other's, whichever comes first, and by its own resync alone.
func TestProxiesInAnyOrder(t *testing.T) {
	w := newWebs(t)
	for _, first := range []string{"kube-proxy-restart", "agent-restart"} {
		for _, node := range cluster.nodes(t) {
			if out, err := cluster.nodeExec(node.name, forgetServices); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			cluster.fault(t, first, node.name)
		}
		w.check("first " + first)
	}
}

// What ends or is left over on one side is collected by that side, and the other side's is left alone, also when both start
// anew and look for what belongs to nobody.
func TestGarbageIsCollectedBySide(t *testing.T) {
	w := newWebs(t)
	before, nativeBefore := containerRuns(pods(t, w.ns)), w.nativeRuns()
	node := w.nativePods()[0].Spec.NodeName
	// A native Pod that ends leaves a container and a sandbox for the kubelet to collect, a MiniPod one for the agent.
	apply(t, w.ns, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: ended}
spec: {restartPolicy: Never, nodeName: %[2]s, containers: [{name: c, image: %[1]s, command: [echo, "said by a native Pod"]}]}
---
apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: ended}
spec: {restartPolicy: Never, nodeName: %[2]s, containers: [{name: c, image: %[1]s, command: ["true"]}]}
`, busybox, node))
	eventually(t, patience, w.ns, &corev1.PodList{}, "the native Pod to end", func() (bool, string) {
		pod := &corev1.Pod{}
		err := api.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: "ended"}, pod)
		return pod.Status.Phase == corev1.PodSucceeded, fmt.Sprint(pod.Status.Phase, err)
	})
	eventually(t, patience, w.ns, &miniv1.MiniPodList{}, "the MiniPod to end", func() (bool, string) {
		pod := &miniv1.MiniPod{}
		err := api.Get(context.Background(), client.ObjectKey{Namespace: w.ns, Name: "ended"}, pod)
		return pod.Status.Phase == miniv1.PodSucceeded, fmt.Sprint(pod.Status.Phase, err)
	})
	if out := kubectl(t, w.ns, "logs", "ended"); !strings.Contains(out, "said by a native Pod") {
		t.Errorf("the log of a native Pod: %q", out)
	}
	kubectl(t, w.ns, "delete", "pod/ended", "minipod/ended")
	cluster.fault(t, "kubelet-restart", node)
	cluster.fault(t, "agent-restart", node)
	waitNode(t, node, true, patience)
	w.collected(node)

	if after := w.nativeRuns(); !slices.Equal(nativeBefore, after) {
		t.Errorf("native containers:\n%v\nbecame\n%v", nativeBefore, after)
	}
	after := containerRuns(pods(t, w.ns))
	for name, run := range before {
		if after[name] != run {
			t.Errorf("%s: %q became %q", name, run, after[name])
		}
	}
	w.check("after the collection")
}

// collected waits until containerd keeps nothing of what ended, in either namespace.
func (w *webs) collected(node string) {
	w.t.Helper()
	script := `ctr -a /run/containerd/containerd.sock -n k8s.io containers ls | grep -c ` + busybox + ` ; ctr -a /run/containerd/containerd.sock -n miniplane containers ls | grep -c ` + busybox
	deadline := time.Now().Add(3 * patience) // the kubelet looks once a minute
	for {
		out, _ := cluster.nodeExec(node, script)
		if strings.Join(strings.Fields(out), " ") == "1 0" { // the client's own
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("busybox containers of native Pods and MiniPods on %s: %q, want the client's alone", node, out)
		}
		time.Sleep(time.Second) // the kubelet tells nobody
	}
}

// nativeRuns tells what would change if a native container were restarted.
func (w *webs) nativeRuns() (out []string) {
	for _, pod := range w.nativePods() {
		for _, c := range pod.Status.ContainerStatuses {
			if c.State.Running != nil {
				out = append(out, fmt.Sprintf("%s %s since %s, restarts %d", pod.Name, c.ContainerID, c.State.Running.StartedAt.UTC(), c.RestartCount))
			}
		}
	}
	slices.Sort(out)
	return out
}

// A Pod of this cluster, as kubectl prints it, becomes a MiniPod by another apiVersion and kind, with its status and whatever else it carries.
func TestPodOfThisClusterMovesIn(t *testing.T) {
	needs(t, kubelet)
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `
apiVersion: v1
kind: Pod
metadata: {name: moves, labels: {app: moves}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {name: before, image: `+busybox+`, command: ["true"], resources: {limits: {memory: 32Mi}}}
  containers:
  - name: main
    image: `+busybox+`
    command: [sleep, "100000"]
    resources: {requests: {cpu: 10m, memory: 16Mi}}
    readinessProbe: {exec: {command: ["true"]}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
`)
	kubectl(t, ns, "wait", "pod/moves", "--for=condition=Ready", "--timeout="+patience.String())
	exported := kubectl(t, ns, "get", "pod", "moves", "-o", "yaml")
	kubectl(t, ns, "delete", "pod", "moves")
	exported = strings.Replace(exported, "apiVersion: v1\n", "apiVersion: miniplane.dev/v1alpha1\n", 1)
	exported = strings.Replace(exported, "\nkind: Pod\n", "\nkind: MiniPod\n", 1)
	apply(t, ns, exported)
	kubectl(t, ns, "wait", "minipod/moves", "--for=condition=Ready", "--timeout="+patience.String())
}

package api

import (
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/eviction"
	"miniplane.dev/miniplane/test/testenv"
)

// managerWithRights is the manager with the rights and the policy of an installation.
func managerWithRights(t *testing.T) (manager, admin client.Client) {
	t.Helper()
	config, admin := testenv.Start(t)
	for _, file := range []string{"config/rbac/namespace.yaml", "config/rbac/manager.yaml", "config/policy/markers.yaml", "config/policy/revisions.yaml"} {
		if err := testenv.Apply(t.Context(), admin, filepath.Join(testenv.Root(), file)); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	manager = as(t, config, rest.ImpersonationConfig{
		UserName: "system:serviceaccount:miniplane-system:miniplane-manager", Groups: []string{"system:serviceaccounts", "system:authenticated"}})
	foreign := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: "foreign"}, Spec: podSpec()}
	testenv.Eventually(t, func() string { // rights and policies take a moment
		err := manager.Create(t.Context(), foreign.DeepCopy(), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "no Pods but its drain markers") {
			return "a Pod that is no drain marker is not refused: " + errorText(err)
		}
		return ""
	})
	return manager, admin
}

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "miniplane.dev/echo:v1"}}}
}

func marker(name string) *corev1.Pod {
	return eviction.Marker(&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid"}})
}

// All that the manager does with a drain marker in its life.
func TestManagerMayWriteMarkers(t *testing.T) {
	manager, _ := managerWithRights(t)
	pod := marker("n1")
	if err := manager.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	before := pod.DeepCopy()
	eviction.Complete(pod)
	if err := manager.Status().Patch(t.Context(), pod, client.StrategicMergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	if err := manager.SubResource("binding").Create(t.Context(), pod, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	if err := manager.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	release := client.RawPatch(mergePatch, []byte(`{"metadata":{"finalizers":null}}`))
	if err := manager.Patch(t.Context(), pod, release); err != nil {
		t.Fatal(err)
	}
	if err := manager.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); !apierrors.IsNotFound(err) {
		t.Errorf("after its end: %v", err)
	}
}

// The right to make Pods beside the agents, which are privileged, is not the right to run anything there.
func TestManagerMayMakeNoPodThatRuns(t *testing.T) {
	manager, _ := managerWithRights(t)
	yes := true
	for name, change := range map[string]func(*corev1.Pod){
		"an image":             func(pod *corev1.Pod) { pod.Spec.Containers[0].Image = "busybox" },
		"an image to pull":     func(pod *corev1.Pod) { pod.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways },
		"another container":    func(pod *corev1.Pod) { pod.Spec.Containers = append(pod.Spec.Containers, podSpec().Containers...) },
		"an init container":    func(pod *corev1.Pod) { pod.Spec.InitContainers = podSpec().Containers },
		"a scheduler":          func(pod *corev1.Pod) { pod.Spec.SchedulerName = corev1.DefaultSchedulerName },
		"a node":               func(pod *corev1.Pod) { pod.Spec.NodeName = "n1" },
		"restarts":             func(pod *corev1.Pod) { pod.Spec.RestartPolicy = corev1.RestartPolicyAlways },
		"a token":              func(pod *corev1.Pod) { pod.Spec.AutomountServiceAccountToken = &yes },
		"the agent's identity": func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = "miniplane-agent" },
		"the host's network":   func(pod *corev1.Pod) { pod.Spec.HostNetwork = true },
		"the host's processes": func(pod *corev1.Pod) { pod.Spec.HostPID = true },
		"the host's files": func(pod *corev1.Pod) {
			pod.Spec.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		},
		"another name": func(pod *corev1.Pod) { pod.Name = "miniplane-agent-x" },
		"no label":     func(pod *corev1.Pod) { pod.Labels = nil },
	} {
		pod := marker("n2")
		change(pod)
		if err := manager.Create(t.Context(), pod, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "markers.miniplane.dev") {
			t.Errorf("a marker with %s: %v", name, err)
		}
	}
	if err := manager.Create(t.Context(), marker("n2"), client.DryRunAll); err != nil {
		t.Errorf("as it should be: %v", err)
	}
}

// Of other Pods the manager may touch nothing, and of its own nothing that would let them run.
func TestManagerMayTouchNoOtherPods(t *testing.T) {
	manager, admin := managerWithRights(t)
	agent := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: "miniplane-agent-x"}, Spec: podSpec()}
	own := marker("n3")
	for _, pod := range []*corev1.Pod{agent, own} {
		if err := admin.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "n3"}}
	patch := func(text string) client.Patch {
		return client.RawPatch("application/strategic-merge-patch+json", []byte(text))
	}
	refused := map[string]error{
		"delete an agent":                manager.Delete(t.Context(), agent.DeepCopy()),
		"change an agent's image":        manager.Patch(t.Context(), agent.DeepCopy(), patch(`{"spec":{"containers":[{"name":"c","image":"busybox"}]}}`)),
		"label an agent":                 manager.Patch(t.Context(), agent.DeepCopy(), patch(`{"metadata":{"labels":{"miniplane.dev/drain-marker":"true"}}}`)),
		"end an agent":                   manager.Status().Patch(t.Context(), agent.DeepCopy(), patch(`{"status":{"phase":"Succeeded"}}`)),
		"bind another Pod":               manager.SubResource("binding").Create(t.Context(), agent.DeepCopy(), binding),
		"change a marker's image":        manager.Patch(t.Context(), own.DeepCopy(), patch(`{"spec":{"containers":[{"name":"marker","image":"busybox"}]}}`)),
		"unlabel a marker":               manager.Patch(t.Context(), own.DeepCopy(), patch(`{"metadata":{"labels":{"miniplane.dev/drain-marker":null}}}`)),
		"annotate a marker":              manager.Patch(t.Context(), own.DeepCopy(), patch(`{"metadata":{"annotations":{"a":"b"}}}`)),
		"say that a marker runs":         manager.Status().Patch(t.Context(), own.DeepCopy(), patch(`{"status":{"phase":"Running"}}`)),
		"evict, which it has no need to": manager.SubResource("eviction").Create(t.Context(), own.DeepCopy(), &policyv1.Eviction{}),
	}
	for what, err := range refused {
		if !apierrors.IsForbidden(err) && (err == nil || !strings.Contains(err.Error(), "markers.miniplane.dev")) {
			t.Errorf("it may %s: %v", what, err)
		}
	}
	if err := manager.Create(t.Context(), func() *corev1.Pod { pod := marker("n4"); pod.Namespace = "default"; return pod }()); !apierrors.IsForbidden(err) {
		t.Errorf("it may make Pods elsewhere: %v", err)
	}
}

// A marker whose label somebody took off still loses its finalizer, and so does not hold the namespace up.
func TestManagerLetsGoOfAMarkerWithoutLabel(t *testing.T) {
	manager, admin := managerWithRights(t)
	pod := marker("n5")
	if err := admin.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if err := patchWith(t, admin, pod, `{"metadata":{"labels":{"miniplane.dev/drain-marker":null}}}`); err != nil {
		t.Fatal(err)
	}
	if err := admin.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if err := patchWith(t, manager, pod, `{"metadata":{"finalizers":null}}`); err != nil {
		t.Errorf("it cannot let go: %v", err)
	}
}

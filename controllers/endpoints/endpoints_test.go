package endpoints_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/endpoints"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

type world struct {
	*testing.T
	client.Client
	ns string
}

func run(t *testing.T) world {
	t.Helper()
	_, c := testenv.Start(t)
	testenv.StartManager(t, func(mgr ctrl.Manager) error { return endpoints.Setup(mgr, endpoints.Options{}) }, endpoints.ByObject())
	return world{t, c, testenv.Namespace(t, c)}
}

func (w world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w world) service(name string, selector map[string]string, ports ...miniv1.ServicePort) *miniv1.MiniService {
	w.Helper()
	out := &miniv1.MiniService{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
		Spec: miniv1.MiniServiceSpec{Selector: selector, Ports: ports}}
	w.must(w.Create(w.Context(), out))
	return out
}

func app(name string) map[string]string { return map[string]string{"app": name} }

// pod makes a MiniPod with an address, not ready yet.
func (w world) pod(name string, labels map[string]string, ip string, ports ...miniv1.ContainerPort) *miniv1.MiniPod {
	w.Helper()
	out := builders.Pod(w.ns, name).Labels(labels).With(func(pod *miniv1.MiniPod) { pod.UID, pod.Spec.Containers[0].Ports = "", ports }).Obj()
	w.must(w.Create(w.Context(), out))
	w.status(out, func(status *miniv1.MiniPodStatus) {
		status.NodeName, status.PodIP, status.Phase = "node-1", ip, miniv1.PodRunning
	})
	return out
}

func (w world) status(pod *miniv1.MiniPod, change func(*miniv1.MiniPodStatus)) {
	w.Helper()
	before := pod.DeepCopy()
	change(&pod.Status)
	w.must(w.Status().Patch(context.Background(), pod, client.MergeFrom(before)))
}

func (w world) ready(pod *miniv1.MiniPod, ready bool) {
	w.Helper()
	w.status(pod, func(status *miniv1.MiniPodStatus) {
		conditions.Set(&status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: conditions.Bool(ready), Reason: miniv1.ReasonContainersReady})
	})
}

func (w world) slices(service string) []discoveryv1.EndpointSlice {
	w.Helper()
	var list discoveryv1.EndpointSliceList
	w.must(w.List(context.Background(), &list, client.InNamespace(w.ns), client.MatchingLabels{miniv1.ServiceNameLabel: service}))
	return list.Items
}

// text is every endpoint of a service as "address:port", with "!" when not ready and "~" when terminating, in order.
func (w world) text(service string) string {
	var out []string
	for _, slice := range w.slices(service) {
		for _, e := range slice.Endpoints {
			line := fmt.Sprintf("%s:%d", e.Addresses[0], *slice.Ports[0].Port)
			if !*e.Conditions.Ready {
				line += "!"
			}
			if *e.Conditions.Terminating {
				line += "~"
			}
			out = append(out, line)
		}
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func (w world) eventually(service, want string) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		if got := w.text(service); got != want {
			return fmt.Sprintf("endpoints of %s are %q, want %q", service, got, want)
		}
		return ""
	})
}

func TestEndpointsFollowThePods(t *testing.T) {
	w := run(t)
	service := w.service("web", app("web"), miniv1.ServicePort{Port: 80})
	a, b := w.pod("a", app("web"), "10.0.0.1"), w.pod("b", app("web"), "10.0.0.2")
	w.pod("other", app("db"), "10.0.0.3")
	w.eventually("web", "10.0.0.1:80! 10.0.0.2:80!")
	w.ready(a, true)
	w.eventually("web", "10.0.0.1:80 10.0.0.2:80!")
	w.ready(b, true)
	w.eventually("web", "10.0.0.1:80 10.0.0.2:80")
	w.ready(a, false)
	w.eventually("web", "10.0.0.1:80! 10.0.0.2:80")

	slice := w.slices("web")[0]
	if !metav1.IsControlledBy(&slice, service) || slice.Labels["service.kubernetes.io/service-proxy-name"] != "miniplane" {
		t.Errorf("owner %v, labels %v", slice.OwnerReferences, slice.Labels)
	}

	b.Finalizers = []string{miniv1.AgentFinalizer}
	w.must(w.Update(t.Context(), b))
	w.must(w.Delete(t.Context(), b))
	w.eventually("web", "10.0.0.1:80! 10.0.0.2:80!~")
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(b), b))
	b.Finalizers = nil
	w.must(w.Update(t.Context(), b))
	w.eventually("web", "10.0.0.1:80!")

	w.status(a, func(status *miniv1.MiniPodStatus) { status.Phase = miniv1.PodFailed })
	w.eventually("web", "")
}

func TestLabelsAndSelectorsChange(t *testing.T) {
	w := run(t)
	web := w.service("web", app("web"), miniv1.ServicePort{Port: 80})
	w.service("db", map[string]string{"app": "db", "tier": "back"}, miniv1.ServicePort{Port: 5432})
	pod := w.pod("a", app("web"), "10.0.0.1")
	w.eventually("web", "10.0.0.1:80!")

	pod.Labels = map[string]string{"app": "db"}
	w.must(w.Update(t.Context(), pod))
	w.eventually("web", "")
	pod.Labels = map[string]string{"app": "db", "tier": "back"}
	w.must(w.Update(t.Context(), pod))
	w.eventually("db", "10.0.0.1:5432!")

	web.Spec.Selector = map[string]string{"tier": "back"}
	w.must(w.Update(t.Context(), web))
	w.eventually("web", "10.0.0.1:80!")
	web.Spec.Selector = nil
	w.must(w.Update(t.Context(), web))
	w.eventually("web", "")
}

func TestNamedPorts(t *testing.T) {
	w := run(t)
	target := intstr.FromString("http")
	service := w.service("web", app("web"), miniv1.ServicePort{Port: 80, TargetPort: &target})
	w.pod("a", app("web"), "10.0.0.1", miniv1.ContainerPort{Name: "http", ContainerPort: 8080})
	w.pod("b", app("web"), "10.0.0.2", miniv1.ContainerPort{Name: "http", ContainerPort: 9090})
	w.pod("c", app("web"), "10.0.0.3")
	w.eventually("web", "10.0.0.1:8080! 10.0.0.2:9090!")
	number := intstr.FromInt32(7070)
	service.Spec.Ports[0].TargetPort = &number
	w.must(w.Update(t.Context(), service))
	w.eventually("web", "10.0.0.1:7070! 10.0.0.2:7070! 10.0.0.3:7070!")
}

func TestSlicesAreRepaired(t *testing.T) {
	w := run(t)
	w.service("web", app("web"), miniv1.ServicePort{Port: 80})
	w.pod("a", app("web"), "10.0.0.1")
	w.eventually("web", "10.0.0.1:80!")

	slice := w.slices("web")[0]
	w.must(w.Delete(t.Context(), &slice))
	testenv.Eventually(t, func() string {
		if now := w.slices("web"); len(now) != 1 || now[0].UID == slice.UID {
			return "the deleted slice does not come back"
		}
		return ""
	})
	slice = w.slices("web")[0]
	slice.Endpoints = nil
	w.must(w.Update(t.Context(), &slice))
	w.eventually("web", "10.0.0.1:80!")
	slice = w.slices("web")[0]
	slice.Labels = map[string]string{}
	w.must(w.Update(t.Context(), &slice))
	w.eventually("web", "10.0.0.1:80!")
}

// A burst of pods ends in complete slices, none of them too long, no endpoint twice, in fewer writes than there are pods.
func TestBurst(t *testing.T) {
	const n = 150
	w := run(t)
	w.service("web", app("web"), miniv1.ServicePort{Port: 80})
	failed := make(chan error, n)
	for i := range n {
		go func() {
			pod := builders.Pod(w.ns, fmt.Sprintf("p%03d", i)).Labels(app("web")).With(func(pod *miniv1.MiniPod) { pod.UID = "" }).Obj()
			err := w.Create(context.Background(), pod)
			before := pod.DeepCopy()
			pod.Status.PodIP, pod.Status.NodeName, pod.Status.Phase = fmt.Sprintf("10.0.1.%d", i), "node-1", miniv1.PodRunning
			failed <- errors.Join(err, w.Status().Patch(context.Background(), pod, client.MergeFrom(before)))
		}()
	}
	for range n {
		w.must(<-failed)
	}
	testenv.Eventually(t, func() string {
		if got := len(strings.Fields(w.text("web"))); got != n {
			return fmt.Sprintf("%d endpoints", got)
		}
		return ""
	})
	all := strings.Fields(w.text("web"))
	if len(slices.Compact(all)) != n {
		t.Error("an endpoint is listed twice")
	}
	writes := int64(0)
	for _, slice := range w.slices("web") {
		if len(slice.Endpoints) > 100 {
			t.Errorf("a slice of %d endpoints", len(slice.Endpoints))
		}
		writes += slice.Generation
	}
	t.Logf("%d writes for %d pods", writes, n)
	if writes > n/2 {
		t.Errorf("%d writes for %d pods", writes, n)
	}
}

// Every change of a pod's readiness reaches a watcher of slices, one after another; how long it took is logged.
func TestEveryChangeIsSeen(t *testing.T) {
	w := run(t)
	cfg, _ := testenv.Start(t)
	for i := range 100 {
		w.service(fmt.Sprintf("other%d", i), app(fmt.Sprintf("other%d", i)), miniv1.ServicePort{Port: 80})
	}
	w.service("web", app("web"), miniv1.ServicePort{Port: 80})
	pod := w.pod("a", app("web"), "10.0.0.1")
	w.eventually("web", "10.0.0.1:80!")

	watcher, err := client.NewWithWatch(cfg, client.Options{Scheme: testenv.Scheme()})
	w.must(err)
	stream, err := watcher.Watch(t.Context(), &discoveryv1.EndpointSliceList{}, client.InNamespace(w.ns), client.MatchingLabels{miniv1.ServiceNameLabel: "web"})
	w.must(err)
	defer stream.Stop()
	lags := func() float64 { return testenv.Counted(t, "miniplane_endpoints_lag_seconds") }
	measured := lags()
	var took []time.Duration
	for i := range 20 {
		ready := i%2 == 0
		start := time.Now()
		w.ready(pod, ready)
		for event := range stream.ResultChan() {
			slice, ok := event.Object.(*discoveryv1.EndpointSlice)
			if ok && len(slice.Endpoints) == 1 && *slice.Endpoints[0].Conditions.Ready == ready {
				break
			}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("status written to slice seen: p50 %v, max %v", took[len(took)/2], took[len(took)-1])
	// News that a write told before it was counted has no lag, and the last may be on its way; none is measured twice.
	if more := lags() - measured; more < 10 || more > 20 {
		t.Errorf("%v lags measured for 20 changes", more)
	}
}

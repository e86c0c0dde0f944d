package service_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/service"
	"miniplane.dev/miniplane/internal/ipam"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func options(cidr string) service.Options {
	return service.Options{ServiceCIDR: netip.MustParsePrefix(cidr), NodePorts: ipam.PortRange{First: 31000, Last: 31999}}
}

// run starts the controller, in a world without services, and returns a client and a namespace.
func run(t *testing.T, opts service.Options) (c client.Client, namespace string, stop func()) {
	t.Helper()
	_, c = testenv.Start(t)
	clear(t, c)
	namespace = testenv.Namespace(t, c)
	return c, namespace, start(t, opts)
}

func start(t *testing.T, opts service.Options) (stop func()) {
	t.Helper()
	return testenv.StartManager(t, func(mgr ctrl.Manager) error { return service.Setup(mgr, opts) }, service.ByObject())
}

func clear(t *testing.T, c client.Client) {
	t.Helper()
	var all miniv1.MiniServiceList
	must(t, c.List(t.Context(), &all))
	for i := range all.Items {
		must(t, c.Delete(t.Context(), &all.Items[i]))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newService(namespace, name string, change ...func(*miniv1.MiniServiceSpec)) *miniv1.MiniService {
	out := &miniv1.MiniService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: miniv1.MiniServiceSpec{Ports: []miniv1.ServicePort{{Port: 80}}}}
	for _, change := range change {
		change(&out.Spec)
	}
	return out
}

func create(t *testing.T, c client.Client, namespace, name string, change ...func(*miniv1.MiniServiceSpec)) *miniv1.MiniService {
	t.Helper()
	out := newService(namespace, name, change...)
	must(t, c.Create(t.Context(), out))
	return out
}

func nodePort(number int32) func(*miniv1.MiniServiceSpec) {
	return func(spec *miniv1.MiniServiceSpec) {
		spec.Type = corev1.ServiceTypeNodePort
		spec.Ports[0].NodePort = number
	}
}

func clusterIP(ip string) func(*miniv1.MiniServiceSpec) {
	return func(spec *miniv1.MiniServiceSpec) { spec.ClusterIP = ip }
}

// reason waits until the service's status speaks of its newest spec with this reason, and returns it.
func reason(t *testing.T, c client.Client, service *miniv1.MiniService, want string) *miniv1.MiniService {
	t.Helper()
	testenv.Eventually(t, func() string {
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(service), service); err != nil {
			return err.Error()
		}
		ready := meta.FindStatusCondition(service.Status.Conditions, miniv1.ConditionReady)
		if ready == nil || ready.Reason != want || service.Status.ObservedGeneration != service.Generation {
			return fmt.Sprintf("%s: condition %+v, want %s", service.Name, ready, want)
		}
		return ""
	})
	return service
}

func message(service *miniv1.MiniService) string {
	return meta.FindStatusCondition(service.Status.Conditions, miniv1.ConditionReady).Message
}

func TestAllocatesAddressAndNodePort(t *testing.T) {
	c, ns, _ := run(t, options("100.96.0.0/16"))
	plain := reason(t, c, create(t, c, ns, "plain"), miniv1.ReasonAllocated)
	if ip, err := netip.ParseAddr(plain.Status.ClusterIP); err != nil || !netip.MustParsePrefix("100.96.0.0/16").Contains(ip) {
		t.Errorf("clusterIP %q", plain.Status.ClusterIP)
	}
	if plain.Status.PortSummary != "80/TCP" {
		t.Errorf("ports %q", plain.Status.PortSummary)
	}
	headless := reason(t, c, create(t, c, ns, "headless", clusterIP("None")), miniv1.ReasonAllocated)
	if headless.Status.ClusterIP != "None" {
		t.Errorf("clusterIP of a headless service %q", headless.Status.ClusterIP)
	}
	outside := create(t, c, ns, "outside", nodePort(0), func(spec *miniv1.MiniServiceSpec) {
		spec.Ports = []miniv1.ServicePort{{Name: "web", Port: 8881}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP, NodePort: 31053}}
	})
	reason(t, c, outside, miniv1.ReasonAllocated)
	want := fmt.Sprintf("8881:%d/TCP,53:31053/UDP", outside.Status.Ports[0].NodePort)
	if outside.Status.PortSummary != want || outside.Status.Ports[0].NodePort < 31000 {
		t.Errorf("ports %q, want %q", outside.Status.PortSummary, want)
	}
}

func TestManyAtOnceGetDifferentOnes(t *testing.T) {
	const n = 200
	c, ns, _ := run(t, options("100.96.0.0/24"))
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			if err := c.Create(context.Background(), newService(ns, fmt.Sprintf("s%03d", i), nodePort(0))); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	var all miniv1.MiniServiceList
	testenv.Eventually(t, func() string {
		must(t, c.List(context.Background(), &all, client.InNamespace(ns)))
		for _, s := range all.Items {
			if s.Status.ClusterIP == "" {
				return s.Name + " has no address"
			}
		}
		return ""
	})
	noDoubles(t, all.Items, n)
}

func noDoubles(t *testing.T, services []miniv1.MiniService, n int) {
	t.Helper()
	addresses, ports := map[string]string{}, map[int32]string{}
	for _, s := range services {
		if other, taken := addresses[s.Status.ClusterIP]; taken {
			t.Errorf("%s and %s both have %s", s.Name, other, s.Status.ClusterIP)
		}
		if other, taken := ports[s.Status.Ports[0].NodePort]; taken {
			t.Errorf("%s and %s both have %d", s.Name, other, s.Status.Ports[0].NodePort)
		}
		addresses[s.Status.ClusterIP], ports[s.Status.Ports[0].NodePort] = s.Name, s.Name
	}
	if len(services) != n {
		t.Errorf("%d services, want %d", len(services), n)
	}
}

func TestRestartKeepsWhatWasGiven(t *testing.T) {
	opts := options("100.96.0.0/28") // 14 addresses
	c, ns, stop := run(t, opts)
	given := map[string]string{}
	for i := range 10 {
		s := reason(t, c, create(t, c, ns, fmt.Sprintf("before%d", i), nodePort(0)), miniv1.ReasonAllocated)
		given[s.Name] = s.Status.ClusterIP + " " + s.Status.PortSummary
	}
	stop()
	for i := range 4 {
		create(t, c, ns, fmt.Sprintf("a-between%d", i), nodePort(0))
	}
	start(t, opts)
	var all miniv1.MiniServiceList
	testenv.Eventually(t, func() string {
		must(t, c.List(context.Background(), &all, client.InNamespace(ns)))
		for _, s := range all.Items {
			if s.Status.ClusterIP == "" {
				return s.Name + " has no address"
			}
		}
		return ""
	})
	noDoubles(t, all.Items, 14)
	for _, s := range all.Items {
		if before, was := given[s.Name]; was && before != s.Status.ClusterIP+" "+s.Status.PortSummary {
			t.Errorf("%s had %s, has %s %s", s.Name, before, s.Status.ClusterIP, s.Status.PortSummary)
		}
	}
	full := reason(t, c, create(t, c, ns, "one-too-many"), miniv1.ReasonRangeExhausted)
	must(t, c.Delete(t.Context(), &all.Items[0]))
	reason(t, c, full, miniv1.ReasonAllocated)
}

func TestWishes(t *testing.T) {
	c, ns, _ := run(t, options("100.96.0.0/16"))
	first := reason(t, c, create(t, c, ns, "first", clusterIP("100.96.3.3"), nodePort(31500)), miniv1.ReasonAllocated)
	if first.Status.ClusterIP != "100.96.3.3" || first.Status.PortSummary != "80:31500/TCP" {
		t.Errorf("got %s %s", first.Status.ClusterIP, first.Status.PortSummary)
	}
	second := reason(t, c, create(t, c, ns, "second", clusterIP("100.96.3.3")), miniv1.ReasonClusterIPInUse)
	if !strings.Contains(message(second), "in use by MiniService "+ns+"/first") || second.Status.ClusterIP != "" {
		t.Errorf("%q, clusterIP %q", message(second), second.Status.ClusterIP)
	}
	third := reason(t, c, create(t, c, ns, "third", nodePort(31500)), miniv1.ReasonNodePortInUse)
	if !strings.Contains(message(third), "in use by MiniService "+ns+"/first") || third.Status.ClusterIP == "" {
		t.Errorf("%q, clusterIP %q", message(third), third.Status.ClusterIP)
	}
	reason(t, c, create(t, c, ns, "elsewhere", clusterIP("10.1.2.3")), miniv1.ReasonClusterIPInvalid)
	reason(t, c, create(t, c, ns, "low", nodePort(80)), miniv1.ReasonNodePortInvalid)

	must(t, c.Delete(t.Context(), first))
	if reason(t, c, second, miniv1.ReasonAllocated); second.Status.ClusterIP != "100.96.3.3" {
		t.Errorf("clusterIP %s", second.Status.ClusterIP)
	}
	if reason(t, c, third, miniv1.ReasonAllocated); third.Status.PortSummary != "80:31500/TCP" {
		t.Errorf("ports %s", third.Status.PortSummary)
	}
}

func TestTypeChangeReleasesTheNodePort(t *testing.T) {
	c, ns, _ := run(t, options("100.96.0.0/16"))
	first := reason(t, c, create(t, c, ns, "first", nodePort(31700)), miniv1.ReasonAllocated)
	waiting := reason(t, c, create(t, c, ns, "waiting", nodePort(31700)), miniv1.ReasonNodePortInUse)
	first.Spec.Type, first.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
	must(t, c.Update(t.Context(), first))
	if reason(t, c, first, miniv1.ReasonAllocated); first.Status.PortSummary != "80/TCP" {
		t.Errorf("ports %s", first.Status.PortSummary)
	}
	reason(t, c, waiting, miniv1.ReasonAllocated)
}

func TestRecreatedServiceGetsItsWish(t *testing.T) {
	c, ns, _ := run(t, options("100.96.0.0/16"))
	for range 5 {
		s := reason(t, c, create(t, c, ns, "web", clusterIP("100.96.9.9"), nodePort(31600)), miniv1.ReasonAllocated)
		must(t, c.Delete(t.Context(), s))
	}
}

func TestNativeServicesComeFirst(t *testing.T) {
	c, ns, _ := run(t, options("100.96.0.0/16"))
	native := func(name string, port int32) *corev1.Service {
		out := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort,
			Ports: []corev1.ServicePort{{Port: 80, NodePort: port}}}}
		must(t, c.Create(t.Context(), out))
		return out
	}
	first := native("native", 31800)
	var waiting *miniv1.MiniService
	testenv.Eventually(t, func() string { // until the controller has seen the native Service
		waiting = create(t, c, ns, "ours", nodePort(31800))
		testenv.Eventually(t, func() string {
			must(t, c.Get(context.Background(), client.ObjectKeyFromObject(waiting), waiting))
			if len(waiting.Status.Conditions) == 0 {
				return "no condition"
			}
			return ""
		})
		if waiting.Status.PortSummary == "80/TCP" {
			return ""
		}
		must(t, c.Delete(context.Background(), waiting))
		return "the port was given although a native Service has it"
	})
	if reason(t, c, waiting, miniv1.ReasonNodePortInUse); !strings.Contains(message(waiting), "in use by Service "+ns+"/native") {
		t.Error(message(waiting))
	}
	must(t, c.Delete(t.Context(), first))
	reason(t, c, waiting, miniv1.ReasonAllocated)

	// A native Service takes ports that we gave: the one that was chosen by us moves, the one that was asked for waits.
	any := reason(t, c, create(t, c, ns, "any", nodePort(0)), miniv1.ReasonAllocated)
	given := any.Status.Ports[0].NodePort
	native("robber-of-any", given)
	native("robber-of-ours", 31800)
	reason(t, c, waiting, miniv1.ReasonNodePortInUse)
	testenv.Eventually(t, func() string {
		if reason(t, c, any, miniv1.ReasonAllocated); any.Status.Ports[0].NodePort == given {
			return "still has the port of a native Service"
		}
		return ""
	})
}

package proxy

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/conntrack"
	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/iptables/fake"
	"miniplane.dev/miniplane/test/testenv"
)

// flows are fake: those that are there, less those that were deleted.
type flows struct {
	there []conntrack.Flow
	walks int
	fail  error
}

func (f *flows) DeleteUDP(_ context.Context, match conntrack.Match) error {
	f.walks++
	if f.fail != nil {
		return f.fail
	}
	var left []conntrack.Flow
	for _, flow := range f.there {
		if !match(flow) {
			left = append(left, flow)
		}
	}
	f.there = left
	return nil
}

func flow(dst, replySrc string) conntrack.Flow {
	return conntrack.Flow{Src: at("192.0.2.1:5000"), Dst: at(dst), ReplySrc: at(replySrc), ReplyDst: at("192.0.2.1:5000")}
}

func newProxier() (*Proxier, *fake.Tables, *flows) {
	tables, flows := &fake.Tables{}, &flows{}
	return New(Options{Config: testConfig, Tables: tables, Flows: flows, Log: logr.Discard()}), tables, flows
}

func service(name, vip string, nodePort int32, protocol corev1.Protocol) *miniv1.MiniService {
	s := &miniv1.MiniService{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	s.Spec.Ports = []miniv1.ServicePort{{Name: "p", Port: 80, Protocol: protocol}}
	s.Status.ClusterIP = vip
	s.Status.Ports = []miniv1.ServicePortStatus{{Name: "p", Port: 80, Protocol: protocol, NodePort: nodePort}}
	return s
}

func slice(name, service string, protocol corev1.Protocol, addresses ...string) *discoveryv1.EndpointSlice {
	port, portName := int32(8080), "p"
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name,
		Labels: map[string]string{miniv1.ServiceNameLabel: service}}}
	s.Ports = []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &protocol}}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

func mustSync(t *testing.T, p *Proxier) {
	t.Helper()
	if err := p.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// went is where a packet goes by the rules that are in the tables.
func went(tables *fake.Tables, protocol, dst string) string {
	k := &fake.Kernel{Tables: tables, Local: []netip.Addr{ip("10.0.0.1")}, Link: links}
	return words(k.Send(fake.Packet{Protocol: protocol, Src: ip("100.64.0.200"), Dst: at(dst)}))
}

func TestObjectsBecomeRules(t *testing.T) {
	p, tables, _ := newProxier()
	p.SetEndpointSlice(slice("a-1", "a", corev1.ProtocolTCP, "100.64.0.7")) // may come before its service
	mustSync(t, p)
	p.SetService(service("a", "100.96.0.1", 30080, corev1.ProtocolTCP))
	mustSync(t, p)
	same(t, "by virtual IP", "100.64.0.7:8080", went(tables, "tcp", "100.96.0.1:80"))
	same(t, "by node port", "100.64.0.7:8080", went(tables, "tcp", "10.0.0.1:30080"))

	p.SetEndpointSlice(slice("a-1", "b", corev1.ProtocolTCP, "100.64.0.7")) // becomes another's
	mustSync(t, p)
	same(t, "without backends", "refused", went(tables, "tcp", "100.96.0.1:80"))
	p.SetEndpointSlice(slice("a-2", "a", corev1.ProtocolTCP, "100.64.0.8"))
	mustSync(t, p)
	same(t, "another slice", "100.64.0.8:8080", went(tables, "tcp", "100.96.0.1:80"))
	p.DeleteEndpointSlice(slice("a-2", "a", corev1.ProtocolTCP))
	p.SetEndpointSlice(slice("x", "", corev1.ProtocolTCP, "100.64.0.9")) // somebody else's
	mustSync(t, p)
	same(t, "no slice", "refused", went(tables, "tcp", "100.96.0.1:80"))

	none := service("a", "None", 0, corev1.ProtocolTCP)
	p.SetService(none)
	mustSync(t, p)
	same(t, "headless", "10.0.0.1:30080", went(tables, "tcp", "10.0.0.1:30080"))
	p.DeleteService(types.NamespacedName{Namespace: "ns", Name: "a"})
	mustSync(t, p)
	empty, emptyTables, _ := newProxier()
	mustSync(t, empty)
	same(t, "all gone", emptyTables.Dump(), tables.Dump())
}

func TestBackendsOf(t *testing.T) {
	yes, no := true, false
	endpoint := func(addr string, ready, serving *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving}}
	}
	tests := []struct {
		name      string
		endpoints []discoveryv1.Endpoint
		want      []netip.AddrPort
	}{
		{"unknown is ready", []discoveryv1.Endpoint{endpoint("100.64.0.1", nil, nil)}, ats([]string{"100.64.0.1:8080"})},
		{"ready ones only", []discoveryv1.Endpoint{endpoint("100.64.0.1", &yes, &yes), endpoint("100.64.0.2", &no, &yes)}, ats([]string{"100.64.0.1:8080"})},
		{"else those that still serve", []discoveryv1.Endpoint{endpoint("100.64.0.1", &no, &no), endpoint("100.64.0.2", &no, &yes)}, ats([]string{"100.64.0.2:8080"})},
		{"IPv4 only", []discoveryv1.Endpoint{endpoint("fd00::1", nil, nil), endpoint("nonsense", nil, nil)}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := slice("a", "a", corev1.ProtocolTCP)
			s.Endpoints = test.endpoints
			of := map[string]*discoveryv1.EndpointSlice{"a": s}
			same(t, "backends", test.want, backendsOf(Port{Name: "p", Protocol: TCP}, of))
			same(t, "of another port", []netip.AddrPort(nil), backendsOf(Port{Name: "q", Protocol: TCP}, of))
			same(t, "of another protocol", []netip.AddrPort(nil), backendsOf(Port{Name: "p", Protocol: UDP}, of))
		})
	}
}

func TestAffinityOfTheObject(t *testing.T) {
	s := service("a", "100.96.0.1", 0, corev1.ProtocolTCP)
	same(t, "none", time.Duration(0), serviceOf("a", s, nil).Affinity)
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	same(t, "three hours", 3*time.Hour, serviceOf("a", s, nil).Affinity)
	seconds := int32(7)
	s.Spec.SessionAffinityConfig = &miniv1.SessionAffinityConfig{ClientIP: &miniv1.ClientIPConfig{TimeoutSeconds: &seconds}}
	same(t, "as configured", 7*time.Second, serviceOf("a", s, nil).Affinity)
}

func TestHostPortsOf(t *testing.T) {
	pod := &miniv1.MiniPod{}
	pod.Spec.Containers = []miniv1.Container{{Ports: []miniv1.ContainerPort{
		{ContainerPort: 80}, {ContainerPort: 53, HostPort: 5353, Protocol: corev1.ProtocolUDP}}}}
	same(t, "without an address", []HostPort(nil), HostPortsOf(pod))
	pod.Status.PodIP = "100.64.0.7"
	want := []HostPort{{Protocol: UDP, Port: 5353, To: at("100.64.0.7:53")}}
	same(t, "running", want, HostPortsOf(pod))
	pod.Status.Phase = miniv1.PodSucceeded
	same(t, "ended", []HostPort(nil), HostPortsOf(pod))

	p, tables, flows := newProxier()
	flows.there = []conntrack.Flow{flow("10.0.0.1:5353", "10.0.0.1:5353")} // came before the rule
	p.SetHostPorts("uid", want)
	mustSync(t, p)
	same(t, "rule", "100.64.0.7:53", went(tables, "udp", "10.0.0.1:5353"))
	same(t, "flows left", 0, len(flows.there))
	p.SetHostPorts("uid", nil)
	p.SetHostPorts("uid", nil)
	mustSync(t, p)
	same(t, "no rule", "10.0.0.1:5353", went(tables, "udp", "10.0.0.1:5353"))
}

func TestStaleUDPFlowsAreDeleted(t *testing.T) {
	p, _, flows := newProxier()
	set := func(backends ...string) {
		p.SetService(service("a", "100.96.0.1", 30053, corev1.ProtocolUDP))
		p.SetEndpointSlice(slice("a-1", "a", corev1.ProtocolUDP, backends...))
		mustSync(t, p)
	}
	set("100.64.0.7", "100.64.0.8")
	stays := []conntrack.Flow{
		flow("100.96.0.1:80", "100.64.0.8:8080"), flow("10.0.0.1:30053", "100.64.0.8:8080"),
		flow("100.96.0.2:80", "100.64.0.7:8080"),    // another service
		flow("192.0.2.9:30053", "192.0.2.9:30053"),  // passes by
		flow("10.0.0.1:30054", "100.64.0.7:8080"),   // another node port
		flow("192.0.2.9:30053", "192.0.2.10:30053"), // somebody else's translation
	}
	goes := []conntrack.Flow{flow("100.96.0.1:80", "100.64.0.7:8080"), flow("10.0.0.1:30053", "100.64.0.7:8080")}
	flows.there = append(append(flows.there, stays...), goes...)
	flows.fail = errors.New("the kernel is busy")
	p.SetEndpointSlice(slice("a-1", "a", corev1.ProtocolUDP, "100.64.0.8"))
	if err := p.Sync(t.Context()); !errors.Is(err, flows.fail) {
		t.Errorf("want the error, got %v", err)
	}
	flows.fail = nil
	mustSync(t, p) // tries again
	same(t, "flows left", stays, flows.there)

	walks := flows.walks
	mustSync(t, p)
	same(t, "walks when nothing changed", walks, flows.walks)
	p.DeleteService(types.NamespacedName{Namespace: "ns", Name: "a"})
	mustSync(t, p)
	for _, f := range flows.there {
		if f.Dst == at("100.96.0.1:80") {
			t.Errorf("the service is gone, but not its flow %v", f)
		}
	}
}

func TestAfterAFailureAllIsWritten(t *testing.T) {
	p, tables, _ := newProxier()
	p.SetService(service("a", "100.96.0.1", 0, corev1.ProtocolTCP))
	mustSync(t, p)
	failed := errors.New("the lock is held")
	tables.Fail = func(string) error { return failed }
	p.SetEndpointSlice(slice("a-1", "a", corev1.ProtocolTCP, "100.64.0.7"))
	if err := p.Sync(t.Context()); !errors.Is(err, failed) {
		t.Fatalf("want the error, got %v", err)
	}
	tables.Fail = nil
	if err := tables.Cleanup(t.Context()); err != nil { // who knows what happened meanwhile
		t.Fatal(err)
	}
	mustSync(t, p)
	same(t, "where it goes", "100.64.0.7:8080", went(tables, "tcp", "100.96.0.1:80"))
	if p.LastSync().IsZero() {
		t.Error("LastSync should be known")
	}
}

func TestANewAgentRemovesWhatItDoesNotKnow(t *testing.T) {
	old, tables, _ := newProxier()
	old.SetService(service("a", "100.96.0.1", 0, corev1.ProtocolTCP))
	old.SetService(service("b", "100.96.0.2", 0, corev1.ProtocolTCP))
	mustSync(t, old)
	fresh := New(Options{Config: testConfig, Tables: tables, Flows: &flows{}, Log: logr.Discard()})
	fresh.SetService(service("b", "100.96.0.2", 0, corev1.ProtocolTCP))
	mustSync(t, fresh)
	only, onlyTables, _ := newProxier()
	only.SetService(service("b", "100.96.0.2", 0, corev1.ProtocolTCP))
	mustSync(t, only)
	same(t, "tables", onlyTables.Dump(), tables.Dump())
}

func TestRun(t *testing.T) {
	restored := func() float64 { return testenv.Counted(t, "miniplane_agent_rules_restored_total") }
	before := restored()
	defer func() { same(t, "counted repairs", 1.0, restored()-before) }()
	synctest.Test(t, func(t *testing.T) {
		p, tables, _ := newProxier()
		var held atomic.Bool
		tables.Fail = func(string) error {
			if held.Load() {
				return errors.New("the lock is held")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		defer func() { cancel(); <-done }()
		synctest.Wait()
		p.SetService(service("a", "100.96.0.1", 0, corev1.ProtocolTCP))
		p.SetEndpointSlice(slice("a-1", "a", corev1.ProtocolTCP, "100.64.0.7"))
		synctest.Wait() // and no time passes
		same(t, "applied at once", "100.64.0.7:8080", went(tables, "tcp", "100.96.0.1:80"))

		tables.Flush(iptables.NAT)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		same(t, "flushed and repaired", "100.64.0.7:8080", went(tables, "tcp", "100.96.0.1:80"))

		held.Store(true)
		p.SetEndpointSlice(slice("a-1", "a", corev1.ProtocolTCP, "100.64.0.8"))
		time.Sleep(time.Minute)
		held.Store(false)
		time.Sleep(longestRetry)
		synctest.Wait()
		same(t, "tried again", "100.64.0.8:8080", went(tables, "tcp", "100.96.0.1:80"))

		inputs := len(tables.Given())
		time.Sleep(defaultRewritePeriod - time.Minute)
		synctest.Wait()
		same(t, "inputs while nothing happens", inputs, len(tables.Given()))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(tables.Given()) == inputs || !strings.Contains(tables.Given()[inputs], chainVIP) {
			t.Error("all rules should be written now and then")
		}
	})
}

func TestNamesAndCommentsFit(t *testing.T) {
	long := Service{Name: "ns/" + strings.Repeat("x", 300), VIP: ip("100.96.0.1"), Ports: []Port{tcp(1, "100.64.0.1:1").named("p"), udp(65535, "100.64.0.1:65535")}}
	w := newWorld(t, append(many(30), long)...)
	for _, name := range iptables.AllTables {
		chains, _ := w.tables.Chains(t.Context(), name)
		for _, chain := range chains {
			if len(chain) > 28 {
				t.Errorf("%s has more than 28 characters", chain)
			}
		}
	}
	for line := range strings.SplitSeq(w.tables.Dump(), "\n") {
		if _, after, ok := strings.Cut(line, "--comment "); ok && len(strings.Fields(after)[0]) > 255 {
			t.Errorf("comment too long: %s", line)
		}
	}
}

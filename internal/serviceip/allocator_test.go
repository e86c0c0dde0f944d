package serviceip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/ipam"
)

// first always picks the lowest number.
func first(int) int { return 0 }

// small gives 100.96.0.1 to .6 and the ports 30000 to 30003.
func small() *Allocator {
	return New(ipam.New(netip.MustParsePrefix("100.96.0.0/29")), ipam.NewPorts(ipam.PortRange{First: 30000, Last: 30003}), first)
}

type change func(*miniv1.MiniService)

func service(name string, changes ...change) *miniv1.MiniService {
	out := &miniv1.MiniService{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
		Spec:       miniv1.MiniServiceSpec{Ports: []miniv1.ServicePort{{Port: 80}}},
	}
	for _, change := range changes {
		change(out)
	}
	return out
}

func ip(ip string) change { return func(s *miniv1.MiniService) { s.Spec.ClusterIP = ip } }

// ports makes it a NodePort service of the ports 80, 81 … with these node ports; 0 asks for any.
func ports(nodePorts ...int32) change {
	return func(s *miniv1.MiniService) {
		s.Spec.Type, s.Spec.Ports = corev1.ServiceTypeNodePort, nil
		for i, nodePort := range nodePorts {
			s.Spec.Ports = append(s.Spec.Ports, miniv1.ServicePort{Port: 80 + int32(i), NodePort: nodePort})
		}
	}
}

// has sets the status: the address, and the node ports of the ports 80, 81 …
func has(ip string, nodePorts ...int32) change {
	return func(s *miniv1.MiniService) {
		s.Status.ClusterIP = ip
		for i, nodePort := range nodePorts {
			s.Status.Ports = append(s.Status.Ports, miniv1.ServicePortStatus{Port: 80 + int32(i), NodePort: nodePort})
		}
	}
}

func age(minutes int) change {
	return func(s *miniv1.MiniService) {
		s.CreationTimestamp = metav1.NewTime(time.Date(2026, 1, 1, 0, -minutes, 0, 0, time.UTC))
	}
}

func uid(uid types.UID) change { return func(s *miniv1.MiniService) { s.UID = uid } }

func native(name string, nodePorts ...int32) corev1.Service {
	out := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	for _, nodePort := range nodePorts {
		out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{NodePort: nodePort})
	}
	return out
}

// text is a grant as "address port→nodePort … !reason message …".
func text(grant Grant) string {
	out := grant.ClusterIP
	for port := int32(80); port < 90; port++ {
		for _, protocol := range []string{"TCP", "UDP"} {
			if nodePort, ok := grant.NodePorts[PortKey{port, protocol}]; ok {
				out += fmt.Sprintf(" %d→%d", port, nodePort)
			}
		}
	}
	for _, problem := range grant.Problems {
		out += " !" + problem.Reason + " " + problem.Message
	}
	return out
}

func names(in []types.NamespacedName) string {
	out := ""
	for _, name := range in {
		out += name.Name + " "
	}
	return out
}

func TestClaims(t *testing.T) {
	type step struct {
		claim   *miniv1.MiniService
		release string
		native  *corev1.Service
		want    string
		wake    string
	}
	claim := func(want string, s *miniv1.MiniService) step { return step{claim: s, want: want} }
	waking := func(wake string, s step) step { s.wake = wake; return s }
	gets := func(s corev1.Service) step { return step{native: &s} }
	tests := []struct {
		name  string
		steps []step
	}{
		{"addresses are given once, and stay", []step{
			claim("100.96.0.1", service("a")), claim("100.96.0.2", service("b")), claim("100.96.0.1", service("a")),
			claim("None", service("c", ip("None"))),
		}},
		{"a wish is granted, or refused with the holder's name and granted later", []step{
			claim("100.96.0.5", service("a", ip("100.96.0.5"))),
			claim(" !ClusterIPInUse clusterIP 100.96.0.5 is in use by MiniService ns/a; it is given to this service when it becomes free", service("b", ip("100.96.0.5"))),
			{release: "a", wake: "b "},
			claim("100.96.0.5", service("b", ip("100.96.0.5"))),
			{release: "b"},
		}},
		{"a wish that comes later replaces what was given, when it can", []step{
			claim("100.96.0.1", service("a")), claim("100.96.0.2", service("b")),
			claim("100.96.0.2 !ClusterIPInUse clusterIP 100.96.0.1 is in use by MiniService ns/a; it is given to this service when it becomes free", service("b", ip("100.96.0.1"))),
			waking("b ", claim("100.96.0.6", service("a", ip("100.96.0.6")))),
			claim("100.96.0.1", service("b", ip("100.96.0.1"))),
		}},
		{"wishes that nobody can grant", []step{
			claim(" !ClusterIPInvalid clusterIP 10.0.0.1 is outside of the range 100.96.0.1-100.96.0.6", service("a", ip("10.0.0.1"))),
			claim(" !ClusterIPInvalid clusterIP fd00::1 is outside of the range 100.96.0.1-100.96.0.6", service("b", ip("fd00::1"))),
			claim(` !ClusterIPInvalid clusterIP x cannot be used: ParseAddr("x"): unable to parse IP`, service("c", ip("x"))),
			claim("100.96.0.1 !NodePortInvalid nodePort 80/TCP is outside of the range 30000-30003", service("d", ports(80))),
		}},
		{"when all are given the next waits", []step{
			claim("100.96.0.1", service("a")), claim("100.96.0.2", service("b")), claim("100.96.0.3", service("c")),
			claim("100.96.0.4", service("d")), claim("100.96.0.5", service("e")), claim("100.96.0.6", service("f")),
			claim(" !RangeExhausted no virtual IP is free in 100.96.0.0/29; delete services that are not needed, or run the manager and the agents with a larger --service-cidr", service("g")),
			{release: "c", wake: "g "}, claim("100.96.0.3", service("g")), {release: "d"},
		}},
		{"node ports are given once, stay, and go with the type", []step{
			claim("100.96.0.1 80→30000 81→30001", service("a", ports(0, 0))),
			claim("100.96.0.2 80→30002", service("b", ports(0))),
			claim("100.96.0.1 80→30000", service("a", ports(0))),
			claim("100.96.0.1", service("a")),
			claim("100.96.0.3 80→30000 81→30001", service("c", ports(30000, 30001))),
			claim("100.96.0.4 80→30003 !RangeExhausted no TCP node port is free in 30000-30003; delete services that are not needed, or run the manager with a larger --node-port-range", service("d", ports(0, 0))),
			{release: "b", wake: "d "},
			claim("100.96.0.4 80→30003 81→30002", service("d", ports(0, 0))),
		}},
		{"a node port that is wished for", []step{
			claim("100.96.0.1 80→30001", service("a", ports(30001))),
			claim("100.96.0.2 81→30000 !NodePortInUse nodePort 30001/TCP is in use by MiniService ns/a; it is given to this service when it becomes free", service("b", ports(30001, 0))),
			waking("b ", claim("100.96.0.1 80→30002", service("a", ports(30002)))),
			claim("100.96.0.2 80→30001 81→30000", service("b", ports(30001, 0))),
		}},
		{"node ports swapped, and taken from a sibling", []step{
			claim("100.96.0.1 80→30000 81→30001", service("a", ports(30000, 30001))),
			claim("100.96.0.1 80→30001 81→30000", service("a", ports(30001, 30000))),
			claim("100.96.0.1 80→30000 81→30002", service("a", ports(30000, 0))),
		}},
		{"a wish that is refused keeps the port that it had", []step{
			claim("100.96.0.1 80→30000", service("a", ports(0))), claim("100.96.0.2 80→30001", service("b", ports(0))),
			claim("100.96.0.2 80→30001 !NodePortInUse nodePort 30000/TCP is in use by MiniService ns/a; it is given to this service when it becomes free", service("b", ports(30000))),
		}},
		{"what the status says is taken up again, if it is free", []step{
			claim("100.96.0.4 80→30002", service("a", ports(0), has("100.96.0.4", 30002))),
			claim("100.96.0.1 80→30000", service("b", ports(0), has("100.96.0.4", 30002))),
		}},
		{"created again under the same name", []step{
			claim("100.96.0.4 80→30001", service("a", ip("100.96.0.4"), ports(30001))),
			claim(" !ClusterIPInUse clusterIP 100.96.0.4 is in use by MiniService ns/a; it is given to this service when it becomes free", service("b", ip("100.96.0.4"))),
			waking("b ", claim("100.96.0.1", service("a", uid("again")))),
			claim("100.96.0.4", service("b", ip("100.96.0.4"))),
		}},
		{"native Services come first", []step{
			gets(native("x", 30000)),
			claim("100.96.0.1 80→30001", service("a", ports(0))),
			claim("100.96.0.2 !NodePortInUse nodePort 30000/TCP is in use by Service ns/x; it is given to this service when it becomes free", service("b", ports(30000))),
			waking("a ", gets(native("y", 30001, 80))),
			claim("100.96.0.1 80→30002", service("a", ports(0), has("100.96.0.1", 30001))),
			waking("b ", gets(native("x", 30003))),
			claim("100.96.0.2 80→30000", service("b", ports(30000))),
			gets(native("x")), gets(native("never there")),
		}},
		{"released before it was seen", []step{{release: "a"}, {release: "a"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := small()
			for i, step := range test.steps {
				var got string
				var wake []types.NamespacedName
				switch {
				case step.claim != nil:
					var grant Grant
					grant, wake = a.Claim(step.claim)
					got = text(grant)
				case step.native != nil:
					wake = a.SetNative(nameOf(step.native), NativePorts(step.native))
				default:
					wake = a.Release(types.NamespacedName{Namespace: "ns", Name: step.release})
				}
				if diff := cmp.Diff(step.want, got); diff != "" {
					t.Errorf("step %d: %s", i, diff)
				}
				if diff := cmp.Diff(step.wake, names(wake)); diff != "" {
					t.Errorf("step %d: wakes %s", i, diff)
				}
			}
		})
	}
}

func TestRestore(t *testing.T) {
	a := small()
	a.Restore([]miniv1.MiniService{
		*service("young", has("100.96.0.1", 30000), age(1)),
		*service("old", has("100.96.0.1", 30000), age(10)),
		*service("headless", has("None")),
		*service("outside", has("10.0.0.1", 80)),
		*service("robbed", has("100.96.0.2", 30001), age(20)),
	}, []corev1.Service{native("x", 30001)})
	tests := []struct {
		service *miniv1.MiniService
		want    string
	}{
		{service("new", ports(0)), "100.96.0.3 80→30002"},
		{service("young", ports(0), has("100.96.0.1", 30000)), "100.96.0.4 80→30003"},
		{service("old", ports(0), has("100.96.0.1", 30000)), "100.96.0.1 80→30000"},
		{service("headless", ip("None"), has("None")), "None"},
		{service("robbed", has("100.96.0.2", 30001)), "100.96.0.2"},
		{service("outside", has("10.0.0.1", 80)), "100.96.0.5"},
	}
	for _, test := range tests {
		grant, _ := a.Claim(test.service)
		if diff := cmp.Diff(test.want, text(grant)); diff != "" {
			t.Errorf("%s: %s", test.service.Name, diff)
		}
	}
}

func TestNativePorts(t *testing.T) {
	in := native("x", 30000, 0)
	in.Spec.Ports = append(in.Spec.Ports, corev1.ServicePort{Protocol: corev1.ProtocolUDP, NodePort: 30053})
	in.Spec.HealthCheckNodePort = 30100
	want := []ipam.Port{{Protocol: "TCP", Number: 30000}, {Protocol: "UDP", Number: 30053}, {Protocol: "TCP", Number: 30100}}
	if diff := cmp.Diff(want, NativePorts(&in)); diff != "" {
		t.Error(diff)
	}
}

// A long random life, with restarts and with statuses that are seen late: nothing is ever given to two, and in the end
// nothing is lost.
func TestNoDoubles(t *testing.T) {
	for seed := range uint64(15) {
		random := rand.New(rand.NewPCG(seed, 3))
		fresh := func() *Allocator {
			return New(ipam.New(netip.MustParsePrefix("100.96.0.0/27")), ipam.NewPorts(ipam.PortRange{First: 30000, Last: 30039}), random.IntN)
		}
		a, stored, natives := fresh(), map[string]*miniv1.MiniService{}, map[string]corev1.Service{}
		for step := range 1500 {
			name := fmt.Sprint("s", random.IntN(40))
			s, exists := stored[name]
			switch random.IntN(8) {
			case 0: // restart
				a = fresh()
				a.Restore(values(stored), values2(natives))
			case 1:
				delete(stored, name)
				a.Release(types.NamespacedName{Namespace: "ns", Name: name})
			case 2:
				n := native(name, 30000+random.Int32N(44))
				natives[name] = n
				a.SetNative(nameOf(&n), NativePorts(&n))
			default:
				if !exists || random.IntN(4) == 0 {
					change := ports(30000+random.Int32N(44), 0)
					if random.IntN(2) == 0 {
						change = ports(0)
					}
					s = service(name, change, uid(types.UID(fmt.Sprint(name, step))))
					if random.IntN(3) == 0 {
						ip(fmt.Sprintf("100.96.0.%d", random.IntN(32)))(s)
					}
					stored[name] = s
				}
				grant, _ := a.Claim(s)
				s.Status = miniv1.MiniServiceStatus{ClusterIP: grant.ClusterIP}
				for key, number := range grant.NodePorts {
					s.Status.Ports = append(s.Status.Ports, miniv1.ServicePortStatus{Port: key.Port, NodePort: number})
				}
				checkGrant(t, fmt.Sprintf("seed %d step %d", seed, step), a, name, grant)
			}
		}
		for name := range stored {
			a.Release(types.NamespacedName{Namespace: "ns", Name: name})
		}
		if free := a.addresses.Free(); free != 30 {
			t.Errorf("seed %d: %d addresses are free in the end", seed, free)
		}
	}
}

// checkGrant finds everything that a grant says under the service's name, and nothing of it held by another.
func checkGrant(t *testing.T, when string, a *Allocator, name string, grant Grant) {
	t.Helper()
	owner := "MiniService ns/" + name
	if address, err := netip.ParseAddr(grant.ClusterIP); err == nil {
		if holder, _ := a.addresses.Owner(address); holder != owner {
			t.Fatalf("%s: %s was given %v, which is held by %q", when, name, address, holder)
		}
	}
	seen := map[int32]bool{}
	for _, number := range grant.NodePorts {
		holder, _ := a.ports.Owner(ipam.Port{Protocol: "TCP", Number: number})
		if holder != owner || seen[number] {
			t.Fatalf("%s: %s was given port %d, which is held by %q, or given twice", when, name, number, holder)
		}
		seen[number] = true
	}
}

func values(in map[string]*miniv1.MiniService) (out []miniv1.MiniService) {
	for _, v := range in {
		out = append(out, *v)
	}
	return out
}

func values2(in map[string]corev1.Service) (out []corev1.Service) {
	for _, v := range in {
		out = append(out, v)
	}
	return out
}

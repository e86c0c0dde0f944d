package endpoints

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

var since = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func service(ports ...miniv1.ServicePort) *miniv1.MiniService {
	return &miniv1.MiniService{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "web-uid"},
		Spec:       miniv1.MiniServiceSpec{Selector: map[string]string{"app": "web"}, Ports: ports},
	}
}

func port(name string, number int32, target any) miniv1.ServicePort {
	out := miniv1.ServicePort{Name: name, Port: number, Protocol: corev1.ProtocolTCP}
	switch target := target.(type) {
	case int:
		out.TargetPort = &intstr.IntOrString{Type: intstr.Int, IntVal: int32(target)}
	case string:
		out.TargetPort = &intstr.IntOrString{Type: intstr.String, StrVal: target}
	}
	return out
}

func ready(name, ip string) *builders.PodBuilder { return starting(name, ip).ReadySince(since) }

func starting(name, ip string) *builders.PodBuilder {
	return builders.Pod("ns", name).Node("node-1").With(func(pod *miniv1.MiniPod) { pod.Status.PodIP = ip })
}

func listens(ports ...miniv1.ContainerPort) func(*miniv1.MiniPod) {
	return func(pod *miniv1.MiniPod) { pod.Spec.Containers[0].Ports = ports }
}

// text writes groups as "[name:number/protocol,…] address=conditions@node …", conditions being r(eady) s(erving) t(erminating).
func text(groups []Group) []string {
	var out []string
	for _, group := range groups {
		line := "[" + portsKey(group.Ports) + "]"
		for _, e := range group.Endpoints {
			line += " " + e.Addresses[0] + "="
			for _, c := range []struct {
				is     *bool
				letter string
			}{{e.Conditions.Ready, "r"}, {e.Conditions.Serving, "s"}, {e.Conditions.Terminating, "t"}} {
				if *c.is {
					line += c.letter
				}
			}
			if e.NodeName != nil {
				line += "@" + *e.NodeName
			}
		}
		out = append(out, line)
	}
	return out
}

func TestDesired(t *testing.T) {
	tests := []struct {
		name    string
		service *miniv1.MiniService
		pods    []*builders.PodBuilder
		want    []string
	}{
		{"no pods", service(port("", 80, nil)), nil, nil},
		{"target port defaults to the port", service(port("", 80, nil)), []*builders.PodBuilder{ready("a", "10.0.0.1")},
			[]string{"[:80/TCP] 10.0.0.1=rs@node-1"}},
		{"target port by number", service(port("", 80, 8080)), []*builders.PodBuilder{ready("a", "10.0.0.1")},
			[]string{"[:8080/TCP] 10.0.0.1=rs@node-1"}},
		{"target port by name differs per pod", service(port("", 80, "http")), []*builders.PodBuilder{
			ready("a", "10.0.0.1").With(listens(miniv1.ContainerPort{Name: "http", ContainerPort: 8080, Protocol: "TCP"})),
			ready("b", "10.0.0.2").With(listens(miniv1.ContainerPort{Name: "http", ContainerPort: 9090})),
			ready("c", "10.0.0.3").With(listens(miniv1.ContainerPort{Name: "http", ContainerPort: 8080})),
		}, []string{"[:8080/TCP] 10.0.0.1=rs@node-1 10.0.0.3=rs@node-1", "[:9090/TCP] 10.0.0.2=rs@node-1"}},
		{"named port must have the protocol", service(port("", 80, "dns")), []*builders.PodBuilder{
			ready("a", "10.0.0.1").With(listens(miniv1.ContainerPort{Name: "dns", ContainerPort: 53, Protocol: "UDP"})),
		}, nil},
		{"a pod with some of the ports has those", service(port("web", 80, "http"), port("metrics", 9100, 9100)),
			[]*builders.PodBuilder{ready("a", "10.0.0.1")}, []string{"[metrics:9100/TCP] 10.0.0.1=rs@node-1"}},
		{"conditions", service(port("", 80, nil)), []*builders.PodBuilder{
			ready("a", "10.0.0.1"), starting("b", "10.0.0.2"), ready("c", "10.0.0.3").Deleting(since), starting("d", "10.0.0.4").Deleting(since),
		}, []string{"[:80/TCP] 10.0.0.1=rs@node-1 10.0.0.2=@node-1 10.0.0.3=st@node-1 10.0.0.4=t@node-1"}},
		{"no address, a bad one, finished", service(port("", 80, nil)), []*builders.PodBuilder{
			starting("a", ""), starting("b", "nonsense"), ready("c", "10.0.0.3").Phase(miniv1.PodSucceeded), ready("d", "10.0.0.4").Phase(miniv1.PodFailed),
		}, nil},
		{"not bound", service(port("", 80, nil)), []*builders.PodBuilder{
			builders.Pod("ns", "a").With(func(pod *miniv1.MiniPod) { pod.Status.PodIP = "10.0.0.1" }),
		}, []string{"[:80/TCP] 10.0.0.1="}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, text(Desired(test.service, objects(test.pods)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEndpointNamesItsPod(t *testing.T) {
	got := Desired(service(port("", 80, nil)), objects([]*builders.PodBuilder{ready("a", "10.0.0.1")}))[0].Endpoints[0].TargetRef
	want := &corev1.ObjectReference{Kind: "MiniPod", Namespace: "ns", Name: "a", UID: "ns/a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func objects(pods []*builders.PodBuilder) []*miniv1.MiniPod {
	var out []*miniv1.MiniPod
	for _, pod := range pods {
		out = append(out, pod.Obj())
	}
	return out
}

// numbered makes the pods of these numbers, ready, with addresses in the same order.
func numbered(from, to int) []*miniv1.MiniPod {
	var out []*miniv1.MiniPod
	for i := from; i < to; i++ {
		out = append(out, ready(fmt.Sprintf("p%04d", i), fmt.Sprintf("10.0.%d.%d", i/150+10, i%150+100)).Obj())
	}
	return out
}

// apply does to the world what the plan says, as the API server would.
func apply(t *testing.T, existing []*discoveryv1.EndpointSlice, plan Plan) []*discoveryv1.EndpointSlice {
	t.Helper()
	byName := map[string]*discoveryv1.EndpointSlice{}
	for _, slice := range existing {
		byName[slice.Name] = slice
	}
	for _, slice := range plan.Delete {
		delete(byName, slice.Name)
	}
	for _, slice := range plan.Create {
		if byName[slice.Name] != nil {
			t.Fatalf("slice %s is created although it exists", slice.Name)
		}
		byName[slice.Name] = slice
	}
	for _, slice := range plan.Update {
		if byName[slice.Name] == nil || byName[slice.Name] == slice {
			t.Fatalf("slice %s is updated although it does not exist, or in place", slice.Name)
		}
		byName[slice.Name] = slice
	}
	var out []*discoveryv1.EndpointSlice
	for _, slice := range byName {
		out = append(out, slice)
	}
	slices.SortFunc(out, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func counts(plan Plan) string {
	return fmt.Sprintf("create %d, update %d, delete %d", len(plan.Create), len(plan.Update), len(plan.Delete))
}

func TestDiffCreatesCompleteSlices(t *testing.T) {
	web := service(port("", 80, 8080))
	plan := Diff(web, Desired(web, numbered(0, 1)), nil)
	if len(plan.Create) != 1 {
		t.Fatal(counts(plan))
	}
	got := plan.Create[0]
	yes, no, tcp, number, name, node := true, false, corev1.ProtocolTCP, int32(8080), "", "node-1"
	want := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: got.Name, Labels: map[string]string{
			"miniplane.dev/service-name": "web", "service.kubernetes.io/service-proxy-name": "miniplane",
			"endpointslice.kubernetes.io/managed-by": "endpoints-controller.miniplane.dev",
		}, OwnerReferences: []metav1.OwnerReference{{APIVersion: "miniplane.dev/v1alpha1", Kind: "MiniService", Name: "web", UID: "web-uid",
			Controller: &yes, BlockOwnerDeletion: &yes}}},
		AddressType: "IPv4",
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &tcp, Port: &number}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.10.100"}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			TargetRef:  &corev1.ObjectReference{Kind: "MiniPod", Namespace: "ns", Name: "p0000", UID: "ns/p0000"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(got.Name, "web-") {
		t.Errorf("name %q", got.Name)
	}
}

func TestDiffWritesAsLittleAsPossible(t *testing.T) {
	web := service(port("", 80, nil))
	unready := func(pods []*miniv1.MiniPod, i int) []*miniv1.MiniPod {
		pods[i].Status.Conditions = nil
		return pods
	}
	steps := []struct {
		name string
		pods []*miniv1.MiniPod
		want string
		left int
	}{
		{"from nothing", numbered(0, 250), "create 3, update 0, delete 0", 3},
		{"nothing changed", numbered(0, 250), "create 0, update 0, delete 0", 3},
		{"one became unready", unready(numbered(0, 250), 120), "create 0, update 1, delete 0", 3},
		{"one became ready, one came", numbered(0, 251), "create 0, update 2, delete 0", 3},
		{"one replaced another", numbered(1, 252), "create 0, update 1, delete 0", 3},
		{"many came", numbered(1, 402), "create 2, update 1, delete 0", 5},
		{"half went", numbered(201, 402), "create 0, update 2, delete 1", 4},
		{"all were replaced", numbered(500, 701), "create 0, update 3, delete 1", 3},
		{"all went", nil, "create 0, update 0, delete 3", 0},
	}
	var existing []*discoveryv1.EndpointSlice
	for _, step := range steps {
		plan := Diff(web, Desired(web, step.pods), existing)
		if diff := cmp.Diff(step.want, counts(plan)); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		if existing = apply(t, existing, plan); len(existing) != step.left {
			t.Errorf("%s: %d slices left, want %d", step.name, len(existing), step.left)
		}
	}
}

func TestDiffAndTheSlicesOfOthers(t *testing.T) {
	web, earlier := service(port("", 80, nil)), service(port("", 80, nil))
	earlier.UID = "earlier"
	old := Diff(earlier, Desired(earlier, numbered(0, 1)), nil).Create[0]
	users := old.DeepCopy()
	users.Name, users.OwnerReferences, users.Labels = "by-hand", nil, map[string]string{miniv1.ServiceNameLabel: "web"}
	ipv6 := Diff(web, Desired(web, numbered(0, 1)), nil).Create[0]
	ipv6.Name, ipv6.AddressType = "six", discoveryv1.AddressTypeIPv6

	plan := Diff(web, Desired(web, numbered(0, 1)), []*discoveryv1.EndpointSlice{old, users, ipv6})
	if len(plan.Create) != 1 || plan.Create[0].Name == old.Name {
		t.Error("a new service needs a slice of its own:", counts(plan))
	}
	if diff := cmp.Diff([]*discoveryv1.EndpointSlice{ipv6, old}, plan.Delete, cmp.Transformer("sorted", sorted)); diff != "" {
		t.Error(diff)
	}
}

func sorted(in []*discoveryv1.EndpointSlice) map[string]bool {
	out := map[string]bool{}
	for _, slice := range in {
		out[slice.Name] = true
	}
	return out
}

func TestDiffRepairsLabelsAndOversizedSlices(t *testing.T) {
	web := service(port("", 80, nil))
	slice := Diff(web, Desired(web, numbered(0, 100)), nil).Create[0]
	slice.Labels = nil
	slice.Endpoints = append(slice.Endpoints, Desired(web, numbered(100, 130))[0].Endpoints...)
	plan := Diff(web, Desired(web, numbered(0, 130)), []*discoveryv1.EndpointSlice{slice})
	if counts(plan) != "create 1, update 1, delete 0" || len(plan.Update[0].Endpoints) != 100 || len(plan.Create[0].Endpoints) != 30 {
		t.Error(counts(plan))
	}
	if diff := cmp.Diff(Labels("web"), plan.Update[0].Labels); diff != "" {
		t.Error(diff)
	}
}

func TestDiffWhenThePortsChange(t *testing.T) {
	before, after := service(port("", 80, 8080)), service(port("", 80, 9090))
	existing := apply(t, nil, Diff(before, Desired(before, numbered(0, 3)), nil))
	plan := Diff(after, Desired(after, numbered(0, 3)), existing)
	if counts(plan) != "create 1, update 0, delete 1" {
		t.Error(counts(plan))
	}
}

// Whatever happened before, the slices list exactly the endpoints that are wanted, each once, and a second look finds
// nothing to do.
func TestDiffConvergesFromAnywhere(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 0))
		web := service(port("", 80, "http"))
		var existing []*discoveryv1.EndpointSlice
		for step := range 20 {
			var pods []*miniv1.MiniPod
			for i, pod := range numbered(0, random.IntN(600)) {
				if random.IntN(3) == 0 {
					continue
				}
				if random.IntN(4) == 0 {
					pod.Status.Conditions = nil
				}
				listens(miniv1.ContainerPort{Name: "http", ContainerPort: 8000 + int32(i%3)})(pod)
				pods = append(pods, pod)
			}
			wanted := Desired(web, pods)
			existing = apply(t, existing, Diff(web, wanted, existing))
			check(t, fmt.Sprintf("seed %d step %d", seed, step), wanted, existing)
			if again := Diff(web, wanted, existing); counts(again) != "create 0, update 0, delete 0" {
				t.Fatalf("seed %d step %d: a second look finds %s", seed, step, counts(again))
			}
		}
	}
}

func check(t *testing.T, when string, wanted []Group, existing []*discoveryv1.EndpointSlice) {
	t.Helper()
	listed := map[string]map[string]bool{}
	for _, slice := range existing {
		if len(slice.Endpoints) == 0 || len(slice.Endpoints) > MaxPerSlice {
			t.Fatalf("%s: slice %s lists %d", when, slice.Name, len(slice.Endpoints))
		}
		ports := portsKey(slice.Ports)
		if listed[ports] == nil {
			listed[ports] = map[string]bool{}
		}
		for _, e := range slice.Endpoints {
			if _, twice := listed[ports][key(e)]; twice {
				t.Fatalf("%s: %s is listed twice", when, key(e))
			}
			listed[ports][key(e)] = *e.Conditions.Ready
		}
	}
	want := map[string]map[string]bool{}
	for _, group := range wanted {
		want[portsKey(group.Ports)] = map[string]bool{}
		for _, e := range group.Endpoints {
			want[portsKey(group.Ports)][key(e)] = *e.Conditions.Ready
		}
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Fatalf("%s: %s", when, diff)
	}
}

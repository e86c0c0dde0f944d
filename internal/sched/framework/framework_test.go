package framework_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	. "miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/test/builders"
)

func hostPorts(ports ...int32) func(*miniv1.MiniPod) {
	return func(p *miniv1.MiniPod) {
		for _, port := range ports {
			p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, miniv1.ContainerPort{ContainerPort: port, HostPort: port})
		}
	}
}

// What a plugin or a quota looks at makes another class; what none looks at does not.
func TestClasses(t *testing.T) {
	base := func() *builders.PodBuilder {
		return builders.Pod("ns", "p").Labels(map[string]string{"app": "a"}).Requests("100m", "64Mi")
	}
	plain := NewPod(base().Obj())
	cases := []struct {
		name                        string
		pod                         *miniv1.MiniPod
		sameShape, sameGroup, sameC bool
	}{
		{"another name", builders.Pod("ns", "q").Labels(map[string]string{"app": "a"}).Requests("100m", "64Mi").Obj(), true, true, true},
		{"another image", base().With(func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "other" }).Obj(), true, true, true},
		{"the amount written otherwise", base().Requests("0.1", "65536Ki").Obj(), true, true, true},
		{"another amount", base().Requests("101m", "64Mi").Obj(), false, true, false},
		{"a limit", base().Limits("1", "").Obj(), true, true, false},
		{"another namespace", builders.Pod("ns2", "p").Labels(map[string]string{"app": "a"}).Requests("100m", "64Mi").Obj(), true, false, false},
		{"another label", base().Labels(map[string]string{"app": "b"}).Obj(), true, false, false},
		{"a node name", base().With(func(p *miniv1.MiniPod) { p.Spec.NodeName = "n" }).Obj(), false, true, false},
		{"a selector", base().With(func(p *miniv1.MiniPod) { p.Spec.NodeSelector = map[string]string{"a": "b"} }).Obj(), false, true, false},
		{"a toleration", base().With(func(p *miniv1.MiniPod) { p.Spec.Tolerations = []miniv1.Toleration{{Key: "a"}} }).Obj(), false, true, false},
		{"a port in the node's network", base().With(func(p *miniv1.MiniPod) {
			p.Spec.HostNetwork, p.Spec.Containers[0].Ports = true, []miniv1.ContainerPort{{ContainerPort: 80}}
		}).Obj(), false, true, false},
		{"a host port", base().With(hostPorts(80)).Obj(), false, true, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := NewPod(c.pod)
			if (p.Shape == plain.Shape) != c.sameShape || (p.Group == plain.Group) != c.sameGroup || (p.Class == plain.Class) != c.sameC {
				t.Errorf("shape %q\nclass %q\ngroup %x", p.Shape, p.Class, p.Group)
			}
		})
	}
}

// Labels that tell the MiniPods of one owner apart make no classes of their own, as those of an Indexed MiniJob, unless the MiniPod asks for them itself.
func TestClassesOfOneOwner(t *testing.T) {
	yes := true
	class := func(index string, ask ...func(*miniv1.MiniPodSpec)) string {
		return NewPod(builders.Pod("ns", "p"+index).Labels(map[string]string{"app": "a", "index": index}).With(func(p *miniv1.MiniPod) {
			p.OwnerReferences = []metav1.OwnerReference{{Controller: &yes, UID: "job"}}
			for _, a := range ask {
				a(&p.Spec)
			}
		}).Obj()).Class
	}
	by := func(label string) func(*miniv1.MiniPodSpec) {
		return func(s *miniv1.MiniPodSpec) {
			s.TopologySpreadConstraints = []miniv1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.DoNotSchedule,
				LabelSelector: &miniv1.LabelSelector{MatchExpressions: []miniv1.LabelSelectorRequirement{{Key: label, Operator: metav1.LabelSelectorOpExists}}}}}
		}
	}
	if class("0") != class("1") || class("0", by("app")) != class("1", by("app")) {
		t.Error("the index makes another class")
	}
	if class("0", by("index")) == class("1", by("index")) {
		t.Error("the index makes no class, where it is asked for")
	}
}

func TestGroups(t *testing.T) {
	yes := true
	owner := func(uid types.UID) func(*miniv1.MiniPod) {
		return func(p *miniv1.MiniPod) {
			p.OwnerReferences = []metav1.OwnerReference{{Controller: &yes, UID: uid}}
		}
	}
	none := NewPod(builders.Pod("ns", "p").Obj())
	if none.Group != 0 || none.GroupShape != none.Shape {
		t.Error("no labels and no owner is no group")
	}
	a := NewPod(builders.Pod("ns", "p").Labels(map[string]string{"x": "1"}).With(owner("a")).Obj())
	b := NewPod(builders.Pod("ns", "q").Labels(map[string]string{"x": "2"}).With(owner("a")).Obj())
	if a.Group == 0 || a.Group != b.Group {
		t.Error("the controller makes the group, not the labels")
	}
	if c := NewPod(builders.Pod("ns", "r").With(owner("c")).Obj()); c.Group == a.Group {
		t.Error("two controllers are two groups")
	}
	if alone := a.WithoutGroup(); alone.Group != 0 || alone.GroupShape != a.Shape || a.Group == 0 {
		t.Error("WithoutGroup must change the copy alone")
	}
}

func TestChargeAndRelease(t *testing.T) {
	pods := []*Pod{
		NewPod(builders.Pod("ns", "a").Labels(map[string]string{"app": "a"}).Requests("100m", "1Mi").With(hostPorts(80, 81)).Obj()),
		NewPod(builders.Pod("ns", "b").Labels(map[string]string{"app": "a"}).Requests("200m", "1Mi").Obj()),
		NewPod(builders.Pod("ns", "c").Labels(map[string]string{"app": "c"}).With(hostPorts(82)).Obj()),
		NewPod(builders.Pod("ns", "d").Obj()),
	}
	node := &NodeInfo{Name: "n", Spec: &NodeSpec{}}
	for _, p := range pods {
		node.Charge(p)
	}
	if node.Pods != 4 || node.Used.MilliCPU != 300 || node.Weight.MilliCPU != 500 || len(node.HostPorts) != 3 ||
		node.GroupCount(pods[0].Group) != 2 || node.GroupCount(pods[2].Group) != 1 || node.GroupCount(12345) != 0 {
		t.Errorf("%+v", node)
	}
	var copied NodeInfo
	node.CopyInto(&copied)
	for _, p := range pods {
		node.Release(p)
	}
	if diff := cmp.Diff(fmt.Sprintf("%+v", NodeInfo{Name: "n", Spec: node.Spec, HostPorts: []HostPort{}, Groups: []GroupCount{}}), fmt.Sprintf("%+v", *node)); diff != "" {
		t.Error(diff)
	}
	if copied.Pods != 4 || len(copied.HostPorts) != 3 || len(copied.Groups) != 2 {
		t.Errorf("the copy changed: %+v", copied)
	}
}

func TestHostPort(t *testing.T) {
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		if p := NewHostPort(65535, protocol); p.Number() != 65535 || p.Protocol() != protocol {
			t.Error(p.Number(), p.Protocol())
		}
	}
}

func TestNodeSpecEquality(t *testing.T) {
	mini, core := &miniv1.MiniNode{}, &corev1.Node{}
	if NewNodeSpec(nil, core) != nil {
		t.Error("a core Node alone is a node")
	}
	a, b := NewNodeSpec(mini, core), NewNodeSpec(mini, core)
	if !a.Equal(b) || a.Equal(NewNodeSpec(mini, nil)) || a.Equal(nil) {
		t.Error("Equal is wrong")
	}
	var none *NodeSpec
	if !none.Equal(nil) {
		t.Error("nothing is not equal to nothing")
	}
}

func TestSummaryBounds(t *testing.T) {
	d := Diagnosis{}
	for i := range 12 {
		d.Nodes = append(d.Nodes, NodeReason{Reason: Reason{Code: Tainted, Detail: fmt.Sprintf("k%02d:NoSchedule", i)}})
	}
	d.Nodes = append(d.Nodes, NodeReason{Reason: Reason{Code: TooManyPods, Free: 5}}, NodeReason{Reason: Reason{Code: TooManyPods, Free: 6}},
		NodeReason{Reason: Reason{Code: 99}})
	want := "0/15 nodes are available: 2 nodes are full of MiniPods, " +
		"1 node is tainted k00:NoSchedule without a toleration, 1 node is tainted k01:NoSchedule without a toleration, " +
		"1 node is tainted k02:NoSchedule without a toleration, 1 node is tainted k03:NoSchedule without a toleration, " +
		"1 node is tainted k04:NoSchedule without a toleration, 1 node is tainted k05:NoSchedule without a toleration, " +
		"1 node is tainted k06:NoSchedule without a toleration, and 6 more reasons."
	if diff := cmp.Diff(want, d.Summary()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Code{Tainted, TooManyPods, 99}, d.Codes()); diff != "" {
		t.Error(diff)
	}
}

// TestSummaryOfReservedPort: the message says what to do.
func TestSummaryOfReservedPort(t *testing.T) {
	d := Diagnosis{Nodes: []NodeReason{{Reason: Reason{Code: HostPortReserved, Detail: "22/TCP"}}, {Reason: Reason{Code: HostPortReserved, Detail: "22/TCP"}}}}
	want := "0/2 nodes are available: 2 nodes are keeping host port 22/TCP for others " +
		"(choose one outside of the manager's --reserved-host-ports and --node-port-range)."
	if diff := cmp.Diff(want, d.Summary()); diff != "" {
		t.Error(diff)
	}
}

// In the node's network each port is one of the node's, given as that or not.
func TestPortsInTheNodesNetwork(t *testing.T) {
	pod := builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) {
		p.Spec.HostNetwork = true
		p.Spec.Containers[0].Ports = []miniv1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 53, HostPort: 53, Protocol: corev1.ProtocolUDP}}
		p.Spec.InitContainers = []miniv1.Container{{Name: "i", Ports: []miniv1.ContainerPort{{ContainerPort: 81}}},
			{Name: "s", RestartPolicy: corev1.ContainerRestartPolicyAlways, Ports: []miniv1.ContainerPort{{ContainerPort: 82}}}}
	}).Obj()
	if got, want := NewPod(pod).HostPorts, []HostPort{80, 82, NewHostPort(53, corev1.ProtocolUDP)}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

package hostports_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/hostports"
	"miniplane.dev/miniplane/test/builders"
)

func TestFilter(t *testing.T) {
	taken := []framework.HostPort{framework.NewHostPort(80, corev1.ProtocolTCP), framework.NewHostPort(53, corev1.ProtocolUDP)}
	cases := []struct {
		name  string
		ports []miniv1.ContainerPort
		want  framework.Reason
	}{
		{"none", nil, framework.Reason{}},
		{"no host port", []miniv1.ContainerPort{{ContainerPort: 80}}, framework.Reason{}},
		{"free", []miniv1.ContainerPort{{ContainerPort: 80, HostPort: 81}}, framework.Reason{}},
		{"the other protocol is another port", []miniv1.ContainerPort{{ContainerPort: 53, HostPort: 53, Protocol: corev1.ProtocolTCP}}, framework.Reason{}},
		{"taken", []miniv1.ContainerPort{{ContainerPort: 8080, HostPort: 80}}, framework.Reason{Code: framework.HostPortTaken, Detail: "80/TCP"}},
		{"the node's own", []miniv1.ContainerPort{{ContainerPort: 80, HostPort: 22}}, framework.Reason{Code: framework.HostPortReserved, Detail: "22/TCP"}},
		{"a node port, udp", []miniv1.ContainerPort{{ContainerPort: 80, HostPort: 30443, Protocol: corev1.ProtocolUDP}},
			framework.Reason{Code: framework.HostPortReserved, Detail: "30443/UDP"}},
		{"taken udp", []miniv1.ContainerPort{{ContainerPort: 53, HostPort: 53, Protocol: corev1.ProtocolUDP}},
			framework.Reason{Code: framework.HostPortTaken, Detail: "53/UDP"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := framework.NewPod(builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Spec.Containers[0].Ports = c.ports }).Obj())
			if got := (hostports.Plugin{Reserved: []hostports.Range{{First: 22, Last: 22}, {First: 30000, Last: 32767}}}).Filter(pod, &framework.NodeInfo{HostPorts: taken}); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

package speclevel_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/speclevel"
	"miniplane.dev/miniplane/test/builders"
)

func TestFilter(t *testing.T) {
	plain := builders.Pod("ns", "plain").Obj()
	with := builders.Pod("ns", "with").With(func(p *miniv1.MiniPod) {
		p.Spec.InitContainers = []miniv1.Container{{Name: "first", Image: "i"}}
	}).Obj()
	probed := builders.Pod("ns", "probed").With(func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].LivenessProbe = &miniv1.Probe{Exec: &miniv1.ExecAction{Command: []string{"true"}}}
	}).Obj()
	old := framework.Reason{Code: framework.AgentTooOld, Detail: "spec.initContainers"}
	cases := []struct {
		name string
		pod  *miniv1.MiniPod
		info miniv1.MiniNodeInfo
		want framework.Reason
	}{
		{"nothing said, nothing used", plain, miniv1.MiniNodeInfo{}, framework.Reason{}},
		{"nothing said", with, miniv1.MiniNodeInfo{}, old},
		{"an agent that says nothing of it", with, miniv1.MiniNodeInfo{AgentVersion: "v1"}, old},
		{"an agent that knows it", with, miniv1.MiniNodeInfo{AgentVersion: "v2", SpecLevel: 1, SpecLevelOf: "v2"}, framework.Reason{}},
		{"an agent that knows more", with, miniv1.MiniNodeInfo{AgentVersion: "v3", SpecLevel: 7, SpecLevelOf: "v3"}, framework.Reason{}},
		{"an agent that knows less", probed, miniv1.MiniNodeInfo{AgentVersion: "v2", SpecLevel: 1, SpecLevelOf: "v2"},
			framework.Reason{Code: framework.AgentTooOld, Detail: "probes of containers"}},
		{"an agent that knows as much", probed, miniv1.MiniNodeInfo{AgentVersion: "v3", SpecLevel: 2, SpecLevelOf: "v3"}, framework.Reason{}},
		{"an old agent, after one that knew it", with, miniv1.MiniNodeInfo{AgentVersion: "v1", SpecLevel: 1, SpecLevelOf: "v2"}, old},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := framework.NewPod(c.pod)
			node := &framework.NodeInfo{Spec: framework.NewNodeSpec(&miniv1.MiniNode{Status: miniv1.MiniNodeStatus{NodeInfo: c.info}}, &corev1.Node{})}
			if got := (speclevel.Plugin{}).Filter(pod, node); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if skip := (speclevel.Plugin{}).Skip(pod); skip != (c.pod == plain) {
				t.Errorf("skipped: %t", skip)
			}
		})
	}
	if framework.NewPod(plain).Shape == framework.NewPod(with).Shape {
		t.Error("nodes are taken to answer both alike")
	}
}

package nodeselector_test

import (
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/nodeselector"
	"miniplane.dev/miniplane/test/builders"
)

func TestFilter(t *testing.T) {
	cases := []struct {
		name             string
		selector, labels map[string]string
		want             framework.Reason
	}{
		{"none", nil, nil, framework.Reason{}},
		{"all there", map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "1", "b": "2", "c": "3"}, framework.Reason{}},
		{"other value", map[string]string{"a": "1"}, map[string]string{"a": "2"}, framework.Reason{Code: framework.LabelMissing, Detail: "a=1"}},
		{"the first missing", map[string]string{"z": "1", "y": "1", "a": "1"}, map[string]string{"a": "1"},
			framework.Reason{Code: framework.LabelMissing, Detail: "y=1"}},
		{"an empty value must be there too", map[string]string{"a": ""}, nil, framework.Reason{Code: framework.LabelMissing, Detail: "a="}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pod := framework.NewPod(builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Spec.NodeSelector = c.selector }).Obj())
			node := &framework.NodeInfo{Spec: &framework.NodeSpec{Labels: c.labels}}
			if got := (nodeselector.Plugin{}).Filter(pod, node); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

package taints_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/plugins/taints"
)

func taint(key, value string, effect corev1.TaintEffect) corev1.Taint {
	return corev1.Taint{Key: key, Value: value, Effect: effect}
}

func TestMatches(t *testing.T) {
	seconds := int64(5)
	gpu := taint("gpu", "yes", corev1.TaintEffectNoSchedule)
	cases := []struct {
		name  string
		t     miniv1.Toleration
		taint corev1.Taint
		want  bool
	}{
		{"equal", miniv1.Toleration{Key: "gpu", Value: "yes"}, gpu, true},
		{"equal, said so", miniv1.Toleration{Key: "gpu", Operator: corev1.TolerationOpEqual, Value: "yes"}, gpu, true},
		{"other value", miniv1.Toleration{Key: "gpu", Value: "no"}, gpu, false},
		{"other key", miniv1.Toleration{Key: "ssd", Value: "yes"}, gpu, false},
		{"exists", miniv1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists}, gpu, true},
		{"everything", miniv1.Toleration{Operator: corev1.TolerationOpExists}, gpu, true},
		{"same effect", miniv1.Toleration{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}, gpu, true},
		{"other effect", miniv1.Toleration{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoExecute}, gpu, false},
		{"for a time", miniv1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds},
			taint("gpu", "", corev1.TaintEffectNoExecute), true},
		{"empty matches nothing by value", miniv1.Toleration{}, taint("", "", corev1.TaintEffectNoSchedule), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := taints.Matches(&c.t, &c.taint); got != c.want {
				t.Errorf("matches = %v", got)
			}
		})
	}
}

func TestFilterAndPrefer(t *testing.T) {
	noSchedule := taint("a", "", corev1.TaintEffectNoSchedule)
	noExecute := taint("b", "x", corev1.TaintEffectNoExecute)
	prefer, prefer2 := taint("c", "", corev1.TaintEffectPreferNoSchedule), taint("d", "", corev1.TaintEffectPreferNoSchedule)
	tolerate := func(key string) miniv1.Toleration {
		return miniv1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
	}
	cases := []struct {
		name        string
		taints      []corev1.Taint
		tolerations []miniv1.Toleration
		want        framework.Reason
		score       int64
	}{
		{"none", nil, nil, framework.Reason{}, framework.MaxScore},
		{"NoSchedule", []corev1.Taint{noSchedule}, nil, framework.Reason{Code: framework.Tainted, Detail: "a:NoSchedule"}, framework.MaxScore},
		{"NoExecute", []corev1.Taint{noExecute}, nil, framework.Reason{Code: framework.Tainted, Detail: "b=x:NoExecute"}, framework.MaxScore},
		{"tolerated", []corev1.Taint{noSchedule, noExecute}, []miniv1.Toleration{tolerate("a"), tolerate("b")}, framework.Reason{}, framework.MaxScore},
		{"one of two", []corev1.Taint{noSchedule, noExecute}, []miniv1.Toleration{tolerate("a")},
			framework.Reason{Code: framework.Tainted, Detail: "b=x:NoExecute"}, framework.MaxScore},
		{"PreferNoSchedule does not filter", []corev1.Taint{prefer}, nil, framework.Reason{}, framework.MaxScore / 2},
		{"two of them", []corev1.Taint{prefer, prefer2}, nil, framework.Reason{}, framework.MaxScore / 3},
		{"one tolerated", []corev1.Taint{prefer, prefer2}, []miniv1.Toleration{tolerate("d")}, framework.Reason{}, framework.MaxScore / 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			node := &framework.NodeInfo{Spec: framework.NewNodeSpec(&miniv1.MiniNode{}, &corev1.Node{Spec: corev1.NodeSpec{Taints: c.taints}})}
			pod := &framework.Pod{Tolerations: c.tolerations}
			if got := (taints.Filter{}).Filter(pod, node); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if got := (taints.Prefer{}).Score(pod, node); got != c.score {
				t.Errorf("score %d, want %d", got, c.score)
			}
		})
	}
}

package daemonset

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func affinity(key string, op corev1.NodeSelectorOperator, values ...string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}}}}}
}

func TestAsk(t *testing.T) {
	node := func(taints ...corev1.Taint) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"lane": "yes", "disk": "ssd"}},
			Spec: corev1.NodeSpec{Taints: taints}}
	}
	type spec = corev1.PodSpec
	execute, schedule, prefer := corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule
	tests := []struct {
		name string
		spec spec
		node *corev1.Node
		want Answer
		why  string
	}{
		{"no wishes", spec{}, node(), Wants, ""},
		{"a selector that fits", spec{NodeSelector: map[string]string{"lane": "yes"}}, node(), Wants, ""},
		{"a selector that does not", spec{NodeSelector: map[string]string{"lane": "no"}}, node(), Rejects, "its node selector or node affinity does not match the node's labels"},
		{"a label that is missing", spec{NodeSelector: map[string]string{"lane2": "yes"}}, node(), Rejects, "its node selector or node affinity does not match the node's labels"},
		{"an affinity that fits", spec{Affinity: affinity("disk", corev1.NodeSelectorOpIn, "ssd", "nvme")}, node(), Wants, ""},
		{"an affinity that does not", spec{Affinity: affinity("disk", corev1.NodeSelectorOpNotIn, "ssd")}, node(), Rejects, "its node selector or node affinity does not match the node's labels"},
		{"one that nobody understands", spec{Affinity: affinity("disk", "Nearly", "ssd")}, node(), Wants, ""},
		{"a preference is none", spec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
			{Weight: 1, Preference: affinity("disk", corev1.NodeSelectorOpIn, "tape").NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0]}}}}}, node(), Wants, ""},
		{"this node by name", spec{NodeName: "n1"}, node(), Wants, ""},
		{"another by name", spec{NodeName: "n2"}, node(), Rejects, "its template names node n2"},

		{"a taint that ends Pods", spec{}, node(corev1.Taint{Key: "team", Value: "db", Effect: execute}), Rejects, "it does not tolerate the node's taint team=db:NoExecute"},
		{"the same, tolerated", spec{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}, node(corev1.Taint{Key: "team", Value: "db", Effect: execute}), Wants, ""},
		{"tolerated for another value", spec{Tolerations: []corev1.Toleration{{Key: "team", Value: "web"}}}, node(corev1.Taint{Key: "team", Value: "db", Effect: execute}), Rejects, "it does not tolerate the node's taint team=db:NoExecute"},
		{"tolerated in a way that nobody understands", spec{Tolerations: []corev1.Toleration{{Key: "team", Operator: "Nearly", Value: "web"}}}, node(corev1.Taint{Key: "team", Value: "db", Effect: execute}), Wants, ""},
		{"a taint that keeps new Pods away", spec{}, node(corev1.Taint{Key: "team", Effect: schedule}), Keeps, "it does not tolerate the node's taint team:NoSchedule, and makes no new Pod there"},
		{"both: the worse counts", spec{}, node(corev1.Taint{Key: "a", Effect: schedule}, corev1.Taint{Key: "b", Effect: execute}, corev1.Taint{Key: "c", Effect: schedule}), Rejects, "it does not tolerate the node's taint b:NoExecute"},
		{"a taint that is a preference", spec{}, node(corev1.Taint{Key: "team", Effect: prefer}), Wants, ""},
		{"a cordon, and what Kubernetes finds out", spec{}, node(corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: schedule},
			corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: execute}, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: execute},
			corev1.Taint{Key: corev1.TaintNodeDiskPressure, Effect: schedule}), Wants, ""},
		{"no network yet", spec{}, node(corev1.Taint{Key: corev1.TaintNodeNetworkUnavailable, Effect: schedule}), Keeps, "it does not tolerate the node's taint node.kubernetes.io/network-unavailable:NoSchedule, and makes no new Pod there"},
		{"no network yet, and none needed", spec{HostNetwork: true}, node(corev1.Taint{Key: corev1.TaintNodeNetworkUnavailable, Effect: schedule}), Wants, ""},
		{"out of service", spec{}, node(corev1.Taint{Key: corev1.TaintNodeOutOfService, Effect: execute}), Rejects, "it does not tolerate the node's taint node.kubernetes.io/out-of-service:NoExecute"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set := &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: test.spec}}}
			if got, why := Ask(set, test.node); got != test.want || why != test.why {
				t.Errorf("%d %q, want %d %q", got, why, test.want, test.why)
			}
		})
	}
}

// A node that goes from one DaemonSet of agents to another is wanted all the time.
func TestAskAll(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"size": "large"}}}
	set := func(name, account, size string) appsv1.DaemonSet {
		return appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{ServiceAccountName: account, NodeSelector: map[string]string{"size": size}}}}}
	}
	gone := func(s appsv1.DaemonSet) appsv1.DaemonSet {
		s.DeletionTimestamp = &metav1.Time{}
		return s
	}
	own := set("small", "agent", "small")
	for _, test := range []struct {
		name  string
		sets  []appsv1.DaemonSet
		want  Answer
		found bool
	}{
		{"alone", []appsv1.DaemonSet{own}, Rejects, true},
		{"another takes it", []appsv1.DaemonSet{set("large", "agent", "large"), own}, Wants, true},
		{"another does not either", []appsv1.DaemonSet{own, set("medium", "agent", "medium")}, Rejects, true},
		{"another that goes", []appsv1.DaemonSet{own, gone(set("large", "agent", "large"))}, Rejects, true},
		{"of something else", []appsv1.DaemonSet{own, set("logs", "logs", "large")}, Rejects, true},
		{"none", []appsv1.DaemonSet{set("large", "agent", "large")}, Wants, false},
		{"going", []appsv1.DaemonSet{gone(own)}, Wants, false},
	} {
		if got, _, found := AskAll(test.sets, "small", node); got != test.want || found != test.found {
			t.Errorf("%s: %d, found %t", test.name, got, found)
		}
	}
}

// Agents whose DaemonSet was deleted have a successor where another of theirs wants the node.
func TestSuccessor(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"size": "large"}}}
	set := func(name, account, size string) appsv1.DaemonSet {
		return appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{ServiceAccountName: account, NodeSelector: map[string]string{"size": size}}}}}
	}
	going := set("going", "agent", "large")
	going.DeletionTimestamp = &metav1.Time{}
	others := []appsv1.DaemonSet{going, set("small", "agent", "small"), set("logs", "logs", "large")}
	if got := Successor(others, "agent", node); got != "" {
		t.Errorf("found %q", got)
	}
	if got := Successor(append(others, set("all", "agent", "large")), "agent", node); got != "all" {
		t.Errorf("found %q", got)
	}
}

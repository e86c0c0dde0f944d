// Package daemonset tells whether a DaemonSet wants a node, as Kubernetes' own controller of DaemonSets decides it.
//
// That controller ends a Pod on a node that its template no longer fits, and says nobody why: by its node selector or required affinity,
// its spec.nodeName, or a taint with the effect NoExecute that it does not tolerate. A taint with NoSchedule lets a Pod stay
// that is there, and no other come after it. What the controller tolerates in every template's name is tolerated here, too.
//
// What makes it hard is that a wrong "no" moves everything off a node. Whatever cannot be understood counts as wanted.
package daemonset

import (
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Answer is what a DaemonSet says about a node.
type Answer int

const (
	// Wants means that it has a Pod there, or will have one.
	Wants Answer = iota
	// Keeps means that a Pod that is there stays, and when it has ended none comes after it.
	Keeps
	// Rejects means that a Pod that is there is told to end.
	Rejects
)

// always is tolerated by the Pods of every DaemonSet.
var always = []corev1.Toleration{
	{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodePIDPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
}

// ofTheHost is tolerated by those of them that use the network of their node.
var ofTheHost = corev1.Toleration{Key: corev1.TaintNodeNetworkUnavailable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}

// Tolerations are what the Pods of every DaemonSet tolerate beside what their template says.
func Tolerations(hostNetwork bool) []corev1.Toleration {
	if hostNetwork {
		return append(slices.Clone(always), ofTheHost)
	}
	return slices.Clone(always)
}

// Terms are what a template says about nodes.
type Terms struct {
	// NodeName is the only node that is wanted; every node when empty.
	NodeName     string
	NodeSelector map[string]string
	Affinity     *corev1.Affinity
	Tolerations  []corev1.Toleration
	HostNetwork  bool
}

// Asker answers for one template, for as many nodes as there are.
type Asker struct {
	nodeName    string
	required    nodeaffinity.RequiredNodeAffinity
	tolerations []corev1.Toleration
}

// NewAsker understands the terms once.
func NewAsker(terms Terms) *Asker {
	return &Asker{
		nodeName:    terms.NodeName,
		required:    nodeaffinity.NewRequiredNodeAffinity(terms.NodeSelector, terms.Affinity),
		tolerations: slices.Concat(terms.Tolerations, Tolerations(terms.HostNetwork)),
	}
}

// Ask tells whether the DaemonSet wants the node, and why not. One that is being deleted is asked as if it were not.
func Ask(set *appsv1.DaemonSet, node *corev1.Node) (answer Answer, why string) {
	spec := &set.Spec.Template.Spec
	return NewAsker(Terms{NodeName: spec.NodeName, NodeSelector: spec.NodeSelector, Affinity: spec.Affinity, Tolerations: spec.Tolerations,
		HostNetwork: spec.HostNetwork}).Ask(node)
}

// Ask tells whether the template wants the node, and why not.
func (a *Asker) Ask(node *corev1.Node) (answer Answer, why string) {
	if a.nodeName != "" && a.nodeName != node.Name {
		return Rejects, fmt.Sprintf("its template names node %s", a.nodeName)
	}
	fits, err := a.required.Match(node)
	if err == nil && !fits {
		return Rejects, "its node selector or node affinity does not match the node's labels"
	}
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || tolerated(a.tolerations, taint) {
			continue
		}
		if taint.Effect == corev1.TaintEffectNoExecute {
			return Rejects, fmt.Sprintf("it does not tolerate the node's taint %s", taint.ToString())
		}
		answer, why = Keeps, fmt.Sprintf("it does not tolerate the node's taint %s, and makes no new Pod there", taint.ToString())
	}
	return answer, why
}

// known are the operators that can be understood here.
var known = []corev1.TolerationOperator{"", corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt}

// AskAll is Ask for the DaemonSet of that name, where there may be others of the same agents, as where nodes have budgets of different
// sizes: what one of them wants is wanted, for its agent takes up what the last one started. Found is false where there is none of
// that name, or it is being deleted.
func AskAll(sets []appsv1.DaemonSet, name string, node *corev1.Node) (answer Answer, why string, found bool) {
	i := slices.IndexFunc(sets, func(set appsv1.DaemonSet) bool { return set.Name == name && set.DeletionTimestamp == nil })
	if i < 0 {
		return Wants, "", false
	}
	answer, why = Ask(&sets[i], node)
	for j := range sets {
		if other := &sets[j]; answer != Wants && j != i && other.DeletionTimestamp == nil &&
			other.Spec.Template.Spec.ServiceAccountName == sets[i].Spec.Template.Spec.ServiceAccountName {
			if theirs, _ := Ask(other, node); theirs == Wants {
				return Wants, "", true
			}
		}
	}
	return answer, why, true
}

// Successor is the DaemonSet of the same agents, told by their ServiceAccount, that has a Pod on the node when one that was deleted has
// none any more; "" where there is none.
func Successor(sets []appsv1.DaemonSet, account string, node *corev1.Node) string {
	for i := range sets {
		if set := &sets[i]; set.DeletionTimestamp == nil && set.Spec.Template.Spec.ServiceAccountName == account {
			if answer, _ := Ask(set, node); answer == Wants {
				return set.Name
			}
		}
	}
	return ""
}

func tolerated(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	return slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
		return !slices.Contains(known, t.Operator) || t.ToleratesTaint(logr.Discard(), taint, true)
	})
}

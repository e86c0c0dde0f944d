package daemonplan

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/daemonset"
	"miniplane.dev/miniplane/internal/podstate"
)

// onNode is what a set has on one node.
type onNode struct {
	name   string
	answer daemonset.Answer
	// pods are those that nobody deletes, the best first. Those that the plan deletes leave the list.
	pods []*miniv1.MiniPod
	// ending are those that are being deleted and may run yet.
	ending []*miniv1.MiniPod
}

// NodeOf is the node that a MiniPod is bound to, or made for; "" where it is for none in particular.
func NodeOf(pod *miniv1.MiniPod) string {
	if podstate.IsBound(pod) {
		return pod.Status.NodeName
	}
	return pod.Spec.NodeName
}

// answerOf tells whether the set wants a node. One that miniplane leaves keeps what it has until that is moved.
func answerOf(asker *daemonset.Asker, node Node) daemonset.Answer {
	answer, _ := asker.Ask(node.Core)
	if node.Leaving && answer == daemonset.Wants {
		return daemonset.Keeps
	}
	return answer
}

// Answer tells whether the set wants a node.
func Answer(set *miniv1.MiniDaemonSet, node Node) daemonset.Answer {
	return answerOf(AskerOf(set), node)
}

// place puts the MiniPods on their nodes, in the order of names, and returns those whose node is none.
func (p *planner) place(pods []*miniv1.MiniPod) (strays []*miniv1.MiniPod) {
	asker, byName := AskerOf(p.Set), make(map[string]*onNode, len(p.Nodes))
	for _, node := range p.Nodes {
		n := &onNode{name: node.Core.Name, answer: answerOf(asker, node)}
		byName[n.name] = n
		p.nodes = append(p.nodes, n)
	}
	slices.SortFunc(p.nodes, func(a, b *onNode) int { return strings.Compare(a.name, b.name) })
	for _, pod := range pods {
		name := NodeOf(pod)
		n := byName[name]
		switch {
		case name == "":
		case n == nil:
			strays = append(strays, pod)
		case !podstate.IsDeleting(pod):
			n.pods = append(n.pods, pod)
		case !podstate.IsFinished(pod):
			n.ending = append(n.ending, pod)
		}
	}
	for _, n := range p.nodes {
		slices.SortFunc(n.pods, better)
	}
	return strays
}

// better orders MiniPods of one node: the ready before others, what is bound before what waits, then the older.
func better(a, b *miniv1.MiniPod) int {
	return cmp.Or(
		first(podstate.IsReady(a), podstate.IsReady(b)),
		first(podstate.IsBound(a), podstate.IsBound(b)),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		strings.Compare(a.Name, b.Name),
	)
}

func first(a, b bool) int {
	switch {
	case a && !b:
		return -1
	case b && !a:
		return 1
	}
	return 0
}

// isCurrent tells whether the MiniPod has the current template.
func (p *Plan) isCurrent(pod *miniv1.MiniPod) bool {
	hash := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	return hash != "" && p.Revisions.current.Has(hash)
}

// split are the MiniPods of a node with the current template and with an older one; ok is false where there are several of one
// kind.
func (p *planner) split(n *onNode) (fresh, old *miniv1.MiniPod, ok bool) {
	for _, pod := range n.pods {
		into := &old
		if p.isCurrent(pod) {
			into = &fresh
		}
		if *into != nil {
			return nil, nil, false
		}
		*into = pod
	}
	return fresh, old, true
}

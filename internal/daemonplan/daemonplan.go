// Package daemonplan decides what a MiniDaemonSet should do next: on which nodes to create MiniPods, which to delete, which to
// adopt or release, which template counts as which revision, and what to say in the status.
//
// The algorithm has two halves. First each node by itself (manage.go): one that the template wants has one MiniPod, one that it rejects has
// none, what has ended is replaced, and of several the best stays. Then all nodes together (update.go): MiniPods of an old template are
// replaced, as many at a time as the strategy lets. Whether a node is wanted is package daemonset's. Nothing is remembered from one plan
// to the next but when a MiniPod that failed may be tried again (failures.go).
//
// What makes it hard: that no node is without a MiniPod for longer than it has to be, nor has two. A MiniPod that is being deleted is on its
// node until its agent lets go of it, so none comes after it before that, unless the strategy wants both; and what waits for
// room on its node is there as much as what runs.
package daemonplan

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/claim"
	"miniplane.dev/miniplane/internal/daemonset"
	"miniplane.dev/miniplane/internal/podstate"
)

// Node is one with a MiniNode and a core Node.
type Node struct {
	Core *corev1.Node
	// Leaving: miniplane itself is about to leave the node.
	Leaving bool
}

// Observed is what a plan is made of.
type Observed struct {
	Set   *miniv1.MiniDaemonSet
	Nodes []Node
	// Pods carry the set's reference, or nobody's and match its selector.
	Pods []*miniv1.MiniPod
	// Revisions are all ControllerRevisions of MiniDaemonSets in the namespace.
	Revisions []*appsv1.ControllerRevision
	// Retry is, by node, when a MiniPod that failed there may be replaced; without an entry at once.
	Retry map[string]time.Time
	Now   time.Time
}

// Deletion is a MiniPod that has to go.
type Deletion struct {
	Pod  *miniv1.MiniPod
	Node string
	// Ended: it failed, or succeeded, and another is to take its place.
	Ended bool
}

// Plan is what to do next. One that creates, deletes, adopts, releases and records nothing is done.
type Plan struct {
	// Claims says which MiniPods to adopt and to release.
	Claims claim.Claims[*miniv1.MiniPod]
	// Revisions says what becomes of the ControllerRevisions.
	Revisions RevisionPlan
	// Delete are the MiniPods to delete.
	Delete []Deletion
	// Create are the nodes to create a MiniPod for, of the current revision.
	Create []string
	// Again is after how long to plan again if nothing happens before; 0 for never.
	Again time.Duration

	spec  Spec
	nodes []*onNode
}

// Make plans for what was observed. The plan of a set that is being deleted, or whose template does not match its selector, neither
// creates nor deletes.
func Make(seen Observed) *Plan {
	p := &planner{Observed: seen, Plan: &Plan{spec: FromSet(seen.Set)}}
	p.Claims = claim.Sort(seen.Set, p.spec.Selector, seen.Pods)
	p.Claims.Adopt = slices.DeleteFunc(p.Claims.Adopt, podstate.IsFinished)
	mine := slices.Concat(p.Claims.Mine, p.Claims.Adopt)
	strays := p.place(mine)
	p.planRevisions(mine)
	if seen.Set.DeletionTimestamp != nil || p.spec.Mismatch() {
		return p.Plan
	}
	for _, pod := range strays {
		if !podstate.IsBound(pod) && !podstate.IsDeleting(pod) {
			p.Delete = append(p.Delete, Deletion{Pod: pod, Node: NodeOf(pod)})
		}
	}
	for _, n := range p.nodes {
		p.manage(n)
	}
	p.update()
	return p.Plan
}

// planner makes a plan.
type planner struct {
	Observed
	*Plan
}

// delete removes a MiniPod from its node, in the plan.
func (p *planner) delete(n *onNode, pod *miniv1.MiniPod, ended bool) {
	p.Delete = append(p.Delete, Deletion{Pod: pod, Node: n.name, Ended: ended})
	n.pods = slices.DeleteFunc(slices.Clone(n.pods), func(other *miniv1.MiniPod) bool { return other == pod })
}

func (p *planner) create(n *onNode) { p.Create = append(p.Create, n.name) }

// available tells whether the MiniPod is available, and has the plan made again when it will be by the mere passing of time.
func (p *planner) available(pod *miniv1.MiniPod) bool {
	available, wait := podstate.IsAvailable(pod, p.spec.MinReady, p.Now)
	p.wakeAfter(wait)
	return available
}

func (p *planner) wakeAfter(wait time.Duration) { p.Again = sooner(p.Again, wait) }

// sooner is the shorter of two times of which 0 is never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// Spec is what is wanted.
type Spec struct {
	// Selector finds the MiniPods; nothing where it cannot be read, and Unreadable is why.
	Selector   labels.Selector
	Unreadable error
	// Labels are those of the template.
	Labels map[string]string
	// MinReady is how long a MiniPod must be ready before it counts as available.
	MinReady time.Duration
	// Rolling: MiniPods of an old template are replaced without anybody deleting them.
	Rolling bool
}

// FromSet takes the Spec out of a MiniDaemonSet.
func FromSet(set *miniv1.MiniDaemonSet) Spec {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		selector = labels.Nothing()
	}
	return Spec{
		Selector:   selector,
		Unreadable: err,
		Labels:     set.Spec.Template.Metadata.Labels,
		MinReady:   time.Duration(set.Spec.MinReadySeconds) * time.Second,
		Rolling:    rolling(set),
	}
}

func rolling(set *miniv1.MiniDaemonSet) bool {
	return set.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType
}

// Mismatch tells whether the MiniPods that the template makes would not be found by the selector.
func (s Spec) Mismatch() bool { return !s.Selector.Matches(labels.Set(s.Labels)) }

// AskerOf understands what the template of a set says about nodes.
func AskerOf(set *miniv1.MiniDaemonSet) *daemonset.Asker {
	spec := &set.Spec.Template.Spec
	terms := daemonset.Terms{NodeName: spec.NodeName, NodeSelector: spec.NodeSelector, Affinity: affinityOf(spec), HostNetwork: spec.HostNetwork}
	for i := range spec.Tolerations {
		t := &spec.Tolerations[i]
		terms.Tolerations = append(terms.Tolerations, corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect,
			TolerationSeconds: t.TolerationSeconds})
	}
	return daemonset.NewAsker(terms)
}

// affinityOf is what a template requires of nodes beside its node selector, in native terms.
func affinityOf(spec *miniv1.MiniPodSpec) *corev1.Affinity {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return nil
	}
	required := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required.Native()}}
}

// Package rollout decides the next step of a MiniDeployment: which MiniReplicaSet to create, which to scale and to what,
// which to delete, and what to say about it in the status.
//
// The algorithm, from nothing but what is observed now:
//
//  1. Which template is wanted: the one of the revision that rollbackTo names, or spec.template.
//  2. Which set has it (the new one); all others are old.
//  3. Paused, or nothing to roll to: keep the number of replicas, and change nothing else.
//  4. Number the new set, if another was newer until now.
//  5. The wanted number of replicas changed while several sets run: share it in proportion, and do no more in this step.
//  6. Roll: grow the new set, shrink the old ones, within the bounds of the strategy.
//  7. When the rollout is complete, delete the oldest sets beyond the history limit.
//
// What makes it hard: the status of a set lags behind its spec, and both bounds must hold against what really runs. So a
// set counts as large as the larger of its spec and its status where there could be too many MiniPods, and as available
// as the smaller of the two where there could be too few. Everything is in integers.
package rollout

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Observed is all that a step is planned from.
type Observed struct {
	// Deployment is the MiniDeployment.
	Deployment *miniv1.MiniDeployment
	// Sets are the MiniReplicaSets that belong to it.
	Sets []*miniv1.MiniReplicaSet
	// PodsLeft counts the MiniPods of each set, by its UID, that still exist, those being deleted included. Only the
	// strategy Recreate needs it.
	PodsLeft map[types.UID]int
}

// Plan is the next step. One without Create, Changes and Delete waits, or is done.
type Plan struct {
	// New is the set that has the wanted template; nil when there is none yet.
	New *miniv1.MiniReplicaSet
	// Create is the set to create, and CreateWhy what its number of replicas follows from.
	Create    *miniv1.MiniReplicaSet
	CreateWhy string
	// Changes are to be written in this order; after one failed, the rest must not be.
	Changes []Change
	// Delete are sets beyond the history limit.
	Delete []*miniv1.MiniReplicaSet
	// Revision is the number of the new set, which the MiniDeployment shows as well; 0 when there is no such set.
	Revision int64
	// RollbackMissing says that no kept set has the revision that rollbackTo asks for.
	RollbackMissing bool
	// Waits says what the rollout waits for; empty when it does not.
	Waits string
}

// Change is a set to be changed. Only replicas, minReadySeconds and annotations differ.
type Change struct {
	// Before is the set as observed, After as wanted.
	Before, After *miniv1.MiniReplicaSet
	// Why says, for a person, what the number of replicas follows from; empty when it does not change.
	Why string
}

// From and To are the numbers of replicas before and after the change.
func (c Change) From() int { return specOf(c.Before) }

// To is the number of replicas after the change.
func (c Change) To() int { return specOf(c.After) }

// Scales tells whether the change is one of the number of replicas.
func (c Change) Scales() bool { return c.From() != c.To() }

// Make plans the next step.
func Make(o Observed) Plan {
	p := newPlanner(o)
	if o.Deployment.DeletionTimestamp == nil {
		p.step()
	}
	return p.result()
}

// planner holds working copies of the sets, which a step changes; result compares them with what was observed.
type planner struct {
	Observed
	replicas, surge, unavailable int

	new  *draft
	old  []*draft // oldest revision first
	plan Plan
}

// draft is a set in the making: before is nil for one that does not exist yet.
type draft struct {
	before, after *miniv1.MiniReplicaSet
	why           string
}

func newPlanner(o Observed) *planner {
	p := &planner{Observed: o, replicas: Wanted(o.Deployment)}
	p.surge, p.unavailable = Bounds(o.Deployment)
	sets := slices.SortedFunc(slices.Values(o.Sets), byRevision)
	template := wantedTemplate(o.Deployment, sets)
	p.plan.RollbackMissing = template == nil
	newest := withTemplate(template, sets)
	for _, set := range sets {
		d := &draft{before: set, after: set.DeepCopy()}
		if set == newest {
			p.new = d
			continue
		}
		p.old = append(p.old, d)
	}
	return p
}

// withTemplate finds the set that has the template: the first created, should there be two. Not the one of the lowest
// revision, which changes by being chosen.
func withTemplate(template *miniv1.MiniPodTemplateSpec, sets []*miniv1.MiniReplicaSet) *miniv1.MiniReplicaSet {
	var found *miniv1.MiniReplicaSet
	for _, set := range sets {
		if template != nil && SameTemplate(&set.Spec.Template, template) && (found == nil || byAge(set, found) < 0) {
			found = set
		}
	}
	return found
}

func (p *planner) step() {
	if p.Deployment.Spec.Paused || p.plan.RollbackMissing {
		p.keepScale()
		return
	}
	if p.new != nil {
		p.number()
		p.describe()
	}
	if running := p.active(); len(running) > 1 && p.resized() && !p.recreates() {
		p.share(running)
		p.noteDesired()
		return
	}
	if p.new == nil && !p.recreates() {
		p.startSet()
	}
	if p.recreates() {
		p.recreate()
	} else {
		p.roll()
	}
	p.noteDesired()
	p.trimHistory()
}

// result is the difference between the working copies and what was observed.
func (p *planner) result() Plan {
	if p.new != nil && p.new.before == nil {
		p.plan.Create, p.plan.CreateWhy = p.new.after, p.new.why
	} else if p.new != nil {
		p.plan.New = p.new.before
	}
	if p.new != nil {
		p.plan.Revision = Revision(p.new.after)
	}
	for _, d := range p.all() {
		if d.before != nil && d.before.DeletionTimestamp == nil && !equality.Semantic.DeepEqual(d.before, d.after) {
			p.plan.Changes = append(p.plan.Changes, Change{Before: d.before, After: d.after, Why: d.why})
		}
	}
	return p.plan
}

// all sets, the new one first: what it needs is written before what it takes from the others.
func (p *planner) all() []*draft {
	if p.new == nil {
		return p.old
	}
	return slices.Concat([]*draft{p.new}, p.old)
}

func (p *planner) active() []*draft {
	return slices.DeleteFunc(slices.Clone(p.all()), func(d *draft) bool { return d.spec() == 0 })
}

// spec is the number of replicas that the set is, or will be, asked for.
func (d *draft) spec() int { return specOf(d.after) }

// size is how many MiniPods the set may have: those it is asked for, and those it has still.
func (d *draft) size() int { return max(d.spec(), int(d.after.Status.Replicas)) }

// available is how many available MiniPods of the set will stay: none of a set that is being deleted.
func (d *draft) available() int {
	if d.after.DeletionTimestamp != nil {
		return 0
	}
	return min(d.spec(), int(d.after.Status.AvailableReplicas))
}

// scale asks the set for n replicas, and notes why.
func (d *draft) scale(n int, why string, args ...any) {
	if n == d.spec() {
		return
	}
	replicas := int32(n)
	d.after.Spec.Replicas = &replicas
	d.why = fmt.Sprintf(why, args...)
}

func sum(drafts []*draft, count func(*draft) int) int {
	total := 0
	for _, d := range drafts {
		total += count(d)
	}
	return total
}

// Wanted is the wanted number of replicas, 1 when not given.
func Wanted(d *miniv1.MiniDeployment) int {
	if d.Spec.Replicas == nil {
		return 1
	}
	return int(*d.Spec.Replicas)
}

func specOf(set *miniv1.MiniReplicaSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}

// byRevision sorts the oldest revision first, and sets without one before that.
func byRevision(a, b *miniv1.MiniReplicaSet) int {
	return cmp.Or(cmp.Compare(Revision(a), Revision(b)), byAge(a, b))
}

func byAge(a, b *miniv1.MiniReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

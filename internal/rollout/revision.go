package rollout

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// maxRevision is the largest number that is taken for a revision, far from what JSON readers keep exactly: whoever writes a larger one
// did not count.
const maxRevision = 1 << 50

// maxHistory is how many earlier revision numbers a set remembers.
const maxHistory = 100

// Revision is the revision number of a set; 0 when it has none, or one that is no revision, or so large that no other could follow it.
func Revision(set *miniv1.MiniReplicaSet) int64 {
	revision, err := strconv.ParseInt(set.Annotations[miniv1.RevisionAnnotation], 10, 64)
	if err != nil || revision < 0 || revision > maxRevision {
		return 0
	}
	return revision
}

// history are the earlier revision numbers of a set, oldest first, as they are written in its annotation.
func history(set *miniv1.MiniReplicaSet) []string {
	return strings.FieldsFunc(set.Annotations[miniv1.RevisionHistoryAnnotation], func(r rune) bool { return r == ',' })
}

// wantedTemplate is the template of the revision that rollbackTo names, else spec.template. Nil when there is no such
// revision.
func wantedTemplate(d *miniv1.MiniDeployment, sets []*miniv1.MiniReplicaSet) *miniv1.MiniPodTemplateSpec {
	if d.Spec.RollbackTo == nil {
		return bare(&d.Spec.Template)
	}
	wanted := d.Spec.RollbackTo.Revision
	for _, set := range sets {
		if Revision(set) == wanted {
			return bare(&set.Spec.Template)
		}
	}
	for _, set := range sets {
		if slices.Contains(history(set), strconv.FormatInt(wanted, 10)) {
			return bare(&set.Spec.Template)
		}
	}
	return nil
}

// number gives the new set the highest revision number, and lets it remember the one it had.
func (p *planner) number() {
	newest := int64(0)
	for _, d := range p.old {
		newest = max(newest, Revision(d.after))
	}
	set := p.new.after
	had := Revision(set)
	if had > newest {
		return
	}
	p.new.annotate(miniv1.RevisionAnnotation, strconv.FormatInt(newest+1, 10))
	if had > 0 {
		past := append(history(set), strconv.FormatInt(had, 10))
		p.new.annotate(miniv1.RevisionHistoryAnnotation, strings.Join(past[max(0, len(past)-maxHistory):], ","))
	}
}

// describe passes on to the new set what the MiniDeployment says of its MiniPods beside the template: minReadySeconds, and
// annotations such as kubernetes.io/change-cause, so that they are kept with the revision.
func (p *planner) describe() {
	p.new.after.Spec.MinReadySeconds = p.Deployment.Spec.MinReadySeconds
	for _, key := range slices.Sorted(maps.Keys(p.Deployment.Annotations)) {
		if key != corev1.LastAppliedConfigAnnotation && !strings.HasPrefix(key, miniv1.GroupVersion.Group+"/") {
			p.new.annotate(key, p.Deployment.Annotations[key])
		}
	}
}

// noteDesired lets the sets that run remember the wanted number of replicas, so that a change of it is noticed.
func (p *planner) noteDesired() {
	for _, d := range p.all() {
		if d.spec() > 0 || d.before == nil {
			d.annotate(miniv1.DesiredReplicasAnnotation, strconv.Itoa(p.replicas))
		}
	}
}

// trimHistory deletes, once the rollout is complete, the oldest sets that nothing runs of, beyond the limit.
func (p *planner) trimHistory() {
	if p.Deployment.Spec.RevisionHistoryLimit == nil || !p.complete() {
		return
	}
	unused := slices.DeleteFunc(slices.Clone(p.old), func(d *draft) bool {
		return d.size() > 0 || !seen(d.before) || d.before.DeletionTimestamp != nil
	})
	for _, d := range unused[:max(0, len(unused)-int(*p.Deployment.Spec.RevisionHistoryLimit))] {
		p.plan.Delete = append(p.plan.Delete, d.before)
	}
}

// complete tells whether exactly the wanted MiniPods run, and all are available.
func (p *planner) complete() bool {
	return p.new != nil && p.new.available() == p.replicas && p.new.size() == p.replicas && sum(p.old, (*draft).size) == 0
}

// seen tells whether the set's controller has acted on its latest spec, so that its status is about it.
func seen(set *miniv1.MiniReplicaSet) bool { return set.Status.ObservedGeneration >= set.Generation }

func (d *draft) annotate(key, value string) {
	if d.after.Annotations == nil {
		d.after.Annotations = map[string]string{}
	}
	d.after.Annotations[key] = value
}

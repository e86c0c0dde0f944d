package daemonplan

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/claim"
	"miniplane.dev/miniplane/internal/rollout"
)

const (
	kind = "MiniDaemonSet"
	// maxRevision is the largest number that is taken for a revision: whoever writes a larger one did not count.
	maxRevision = 1 << 50
	// maxName is how long the name of an object can be.
	maxName = 253
	// defaultHistory is how many old revisions are kept where the set does not say it.
	defaultHistory = 10
)

// RevisionLabels are what all ControllerRevisions of MiniDaemonSets have.
func RevisionLabels() map[string]string { return map[string]string{miniv1.RevisionLabel: kind} }

// RevisionPlan is what becomes of the ControllerRevisions of a set.
type RevisionPlan struct {
	// Claims says which to adopt; none is released.
	Claims claim.Claims[*appsv1.ControllerRevision]
	// Hash is the value of the label controller-revision-hash of new MiniPods.
	Hash string
	// Create is the revision of the current template, when there is none yet.
	Create *appsv1.ControllerRevision
	// Renumber is the revision of the current template when a later one was current before, and Number what it gets.
	Renumber *appsv1.ControllerRevision
	Number   int64
	// Trim are old ones beyond the limit, of which nothing runs.
	Trim []*appsv1.ControllerRevision

	// current are all hashes of the current template.
	current sets.Set[string]
}

// revisionData is what a ControllerRevision holds: what of the set's spec belongs to a revision, in its place.
type revisionData struct {
	Spec struct {
		Template miniv1.MiniPodTemplateSpec `json:"template"`
	} `json:"spec"`
}

// planRevisions finds the revision of the current template, or drafts it.
func (p *planner) planRevisions(pods []*miniv1.MiniPod) {
	claims := claim.Sort(p.Set, p.spec.Selector, p.Observed.Revisions)
	// Whatever labels somebody gave it, a revision is no other set's.
	claims.Mine, claims.Release = append(claims.Mine, claims.Release...), nil
	out := RevisionPlan{Claims: claims, current: sets.New[string]()}
	mine := slices.Concat(claims.Mine, claims.Adopt)
	slices.SortFunc(mine, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(number(a), number(b)), strings.Compare(a.Name, b.Name))
	})
	wanted, newest := encode(&p.Set.Spec.Template), int64(0)
	var current *appsv1.ControllerRevision
	for _, revision := range mine {
		newest = max(newest, number(revision))
		if revision.DeletionTimestamp == nil && (bytes.Equal(revision.Data.Raw, wanted) || SameTemplate(revision, &p.Set.Spec.Template)) {
			current = revision
			out.current.Insert(hashOf(revision))
		}
	}
	switch {
	case p.Set.DeletionTimestamp != nil || p.spec.Mismatch():
		p.Plan.Revisions = out
		return
	case current == nil:
		out.Create = draft(p.Set, wanted, newest+1)
		out.Hash = hashOf(out.Create)
		out.current.Insert(out.Hash)
	default:
		out.Hash = hashOf(current)
		if number(current) < newest {
			out.Renumber, out.Number = current, newest+1
		}
	}
	out.trim(mine, current, pods, p.Set.Spec.RevisionHistoryLimit)
	p.Plan.Revisions = out
}

// trim has old revisions deleted beyond the limit, the oldest first, but never one of which something runs.
func (r *RevisionPlan) trim(mine []*appsv1.ControllerRevision, current *appsv1.ControllerRevision, pods []*miniv1.MiniPod, limit *int32) {
	keep := defaultHistory
	if limit != nil {
		keep = int(*limit)
	}
	live := sets.New[string]()
	for _, pod := range pods {
		live.Insert(pod.Labels[appsv1.ControllerRevisionHashLabelKey])
	}
	old := slices.DeleteFunc(slices.Clone(mine), func(revision *appsv1.ControllerRevision) bool { return revision == current })
	for _, revision := range old {
		if len(old)-len(r.Trim) <= keep {
			return
		}
		if !live.Has(hashOf(revision)) && revision.DeletionTimestamp == nil {
			r.Trim = append(r.Trim, revision)
		}
	}
}

// draft is the revision of a template.
func draft(set *miniv1.MiniDaemonSet, data []byte, revision int64) *appsv1.ControllerRevision {
	hash := rollout.Hash(&set.Spec.Template, set.Status.CollisionCount)
	labels := maps.Clone(set.Spec.Template.Metadata.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, RevisionLabels())
	labels[appsv1.ControllerRevisionHashLabelKey] = hash
	annotations := maps.Clone(set.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	name := set.Name
	if room := maxName - len("-") - len(hash); len(name) > room {
		name = name[:room]
	}
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       set.Namespace,
			Name:            name + "-" + hash,
			Labels:          labels,
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, miniv1.GroupVersion.WithKind(kind))},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: revision,
	}
}

// SameTemplate tells whether a revision is of that template.
func SameTemplate(revision *appsv1.ControllerRevision, template *miniv1.MiniPodTemplateSpec) bool {
	var data revisionData
	return json.Unmarshal(revision.Data.Raw, &data) == nil && rollout.SameTemplate(&data.Spec.Template, template)
}

func encode(template *miniv1.MiniPodTemplateSpec) []byte {
	var data revisionData
	data.Spec.Template = *template
	out, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("a template that came as JSON cannot be written as JSON: %v", err))
	}
	return out
}

// hashOf is the hash of a revision: its label, or, where somebody took that away, the end of its name.
func hashOf(revision *appsv1.ControllerRevision) string {
	if hash := revision.Labels[appsv1.ControllerRevisionHashLabelKey]; hash != "" {
		return hash
	}
	return revision.Name[strings.LastIndex(revision.Name, "-")+1:]
}

// number is the number of a revision; 0 where nobody can have counted that far.
func number(revision *appsv1.ControllerRevision) int64 {
	if revision.Revision < 0 || revision.Revision > maxRevision {
		return 0
	}
	return revision.Revision
}

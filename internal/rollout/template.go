package rollout

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// maxSetName leaves room for the random end of a MiniPod's name, which is also its host name.
const maxSetName = 253 - len("-12345")

// Hash names a template: ten letters at most, the same for the same template and number of collisions. The label
// pod-template-hash does not count, nor does a field that is not set, so that a new optional field changes no hash.
func Hash(template *miniv1.MiniPodTemplateSpec, collisions *int32) string {
	data, err := json.Marshal(bare(template))
	if err != nil {
		panic(fmt.Sprintf("a template that came as JSON cannot be written as JSON: %v", err))
	}
	if collisions != nil {
		data = fmt.Appendf(data, "%d", *collisions)
	}
	hash := fnv.New32a()
	hash.Write(data)
	return rand.SafeEncodeString(fmt.Sprint(hash.Sum32()))
}

// SameTemplate tells whether two templates ask for the same MiniPods, pod-template-hash aside.
func SameTemplate(a, b *miniv1.MiniPodTemplateSpec) bool {
	return equality.Semantic.DeepEqual(bare(a), bare(b))
}

// bare is the template without the label that tells revisions apart.
func bare(template *miniv1.MiniPodTemplateSpec) *miniv1.MiniPodTemplateSpec {
	if _, ok := template.Metadata.Labels[miniv1.PodTemplateHashLabel]; !ok {
		return template
	}
	out := template.DeepCopy()
	delete(out.Metadata.Labels, miniv1.PodTemplateHashLabel)
	return out
}

// startSet drafts a set for the wanted template, with no replicas yet.
func (p *planner) startSet() {
	d := p.Deployment
	template := wantedTemplate(d, p.Sets)
	hash := Hash(template, d.Status.CollisionCount)
	labels := maps.Clone(bare(template).Metadata.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[miniv1.PodTemplateHashLabel] = hash

	set := &miniv1.MiniReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Namespace:       d.Namespace,
		Name:            setName(d.Name, hash),
		Labels:          labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, miniv1.GroupVersion.WithKind("MiniDeployment"))},
	}}
	set.Spec.Replicas = new(int32)
	set.Spec.Selector = d.Spec.Selector.DeepCopy()
	if set.Spec.Selector.MatchLabels == nil {
		set.Spec.Selector.MatchLabels = map[string]string{}
	}
	set.Spec.Selector.MatchLabels[miniv1.PodTemplateHashLabel] = hash
	set.Spec.Template = *template.DeepCopy()
	set.Spec.Template.Metadata.Labels = maps.Clone(labels)

	p.new = &draft{after: set, why: "no room for any yet"}
	p.number()
	p.describe()
}

func setName(deployment, hash string) string {
	if room := maxSetName - len("-") - len(hash); len(deployment) > room {
		deployment = deployment[:room]
	}
	return deployment + "-" + hash
}

package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jobplan"
	"miniplane.dev/miniplane/internal/podcontrol"
)

// indexVariable tells containers of an Indexed MiniJob which index they have.
const indexVariable = "JOB_COMPLETION_INDEX"

// newPod is a MiniPod of the template, with the labels and the index that a native Job's Pod has.
func (r *Reconciler) newPod(job *miniv1.MiniJob, names podcontrol.Names, c jobplan.Creation) *miniv1.MiniPod {
	if c.Index < 0 {
		pod := r.pods.MiniPod(job, names.Next(job.Name), &job.Spec.Template)
		pod.Labels = labelled(job, pod.Labels)
		return pod
	}
	index := strconv.Itoa(c.Index)
	pod := r.pods.MiniPod(job, names.NextOf(job.Name, "-"+index), &job.Spec.Template)
	pod.Labels = labelled(job, pod.Labels)
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = index
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = index
	if c.PerIndex {
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(c.Failures)
	}
	if c.Ignored > 0 {
		pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(c.Ignored)
	}
	pod.Spec.Hostname = job.Name + "-" + index
	for _, container := range pod.Spec.AllContainers() {
		tellIndex(container)
	}
	return pod
}

// labelled adds the labels by which the MiniPods of a MiniJob are found; with a selector of its own, the template has all there are.
func labelled(job *miniv1.MiniJob, labels map[string]string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	if job.Spec.Selector != nil {
		return out
	}
	for _, key := range []string{batchv1.ControllerUidLabel, "controller-uid"} {
		out[key] = string(job.UID)
	}
	for _, key := range []string{batchv1.JobNameLabel, "job-name"} {
		out[key] = job.Name
	}
	return out
}

// tellIndex adds the variable, unless the template has one of its name.
func tellIndex(c *miniv1.Container) {
	if slices.ContainsFunc(c.Env, func(v miniv1.EnvVar) bool { return v.Name == indexVariable }) {
		return
	}
	path := fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation)
	c.Env = append(c.Env, miniv1.EnvVar{Name: indexVariable, ValueFrom: &miniv1.EnvVarSource{FieldRef: &miniv1.ObjectFieldSelector{FieldPath: path}}})
}

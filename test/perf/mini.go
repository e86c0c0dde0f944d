package main

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/test/perf/procs"
	"miniplane.dev/miniplane/test/perf/report"
)

// mini is MiniPods. They have the agent's finalizer from birth, as those that a MiniReplicaSet makes do; the scheduler
// would add it to one made by hand, for one write more.
type mini struct{}

func (mini) name() string              { return report.Mini }
func (mini) list() client.ObjectList   { return &miniv1.MiniPodList{} }
func (mini) resource() string          { return "minipods" }
func (mini) agent() string             { return procs.Agent }
func (mini) records() (string, string) { return "miniplane", runtime.LabelPodNamespace }
func (mini) node() []string {
	return []string{procs.Agent, procs.MiniShim, procs.MiniPause}
}

func (mini) programs() []string { return []string{procs.Agent, procs.Manager} }

func (mini) pod(o podOptions) client.Object {
	return &miniv1.MiniPod{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name, Labels: o.labels, Finalizers: []string{miniv1.AgentFinalizer}},
		Spec:       miniSpec(o),
	}
}

func (mini) application(namespace, name string, spec []byte) (client.Object, error) {
	pod := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: []string{miniv1.AgentFinalizer}}}
	return pod, yaml.UnmarshalStrict(spec, &pod.Spec)
}

func miniSpec(o podOptions) miniv1.MiniPodSpec {
	return miniv1.MiniPodSpec{
		TerminationGracePeriodSeconds: &o.grace,
		NodeSelector:                  o.nodeSelector,
		Containers: []miniv1.Container{{Name: "main", Image: o.image, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: o.command}},
	}
}

func (mini) look(object client.Object) look {
	pod := object.(*miniv1.MiniPod)
	l := look{bound: pod.Status.NodeName != "", running: pod.Status.Phase == miniv1.PodRunning, restarts: pod.Status.Restarts,
		ready: meta.IsStatusConditionTrue(pod.Status.Conditions, miniv1.ConditionReady)}
	if pod.Status.Phase == miniv1.PodFailed && pod.DeletionTimestamp.IsZero() {
		l.failed = pod.Status.Summary
	}
	for _, c := range pod.Status.ContainerStatuses {
		l.container = containerLook(c.ContainerID, c.State.Running)
	}
	return l
}

func (mini) replicaSet(o podOptions, replicas int32) client.Object {
	return &miniv1.MiniReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name},
		Spec: miniv1.MiniReplicaSetSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: o.labels},
			Template: miniv1.MiniPodTemplateSpec{Metadata: miniv1.TemplateMeta{Labels: o.labels}, Spec: miniSpec(o)},
		},
	}
}

package main

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"miniplane.dev/miniplane/test/perf/procs"
	"miniplane.dev/miniplane/test/perf/report"
)

// native is Kubernetes' own Pods, as everybody gets them: with the ServiceAccount's token mounted.
type native struct{}

func (native) name() string            { return report.Native }
func (native) list() client.ObjectList { return &corev1.PodList{} }
func (native) resource() string        { return "pods" }
func (native) agent() string           { return procs.Kubelet }
func (native) records() (string, string) {
	return "k8s.io", "io.kubernetes.pod.namespace"
}
func (native) node() []string {
	return []string{procs.Kubelet, procs.KubeProxy, procs.NativeShim, procs.NativePause}
}

func (native) programs() []string {
	return []string{procs.Kubelet, procs.KubeProxy, procs.KCM, procs.Scheduler}
}

func (native) pod(o podOptions) client.Object {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name, Labels: o.labels},
		Spec:       nativeSpec(o),
	}
}

func (native) application(namespace, name string, spec []byte) (client.Object, error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	return pod, yaml.UnmarshalStrict(spec, &pod.Spec)
}

func nativeSpec(o podOptions) corev1.PodSpec {
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &o.grace,
		NodeSelector:                  o.nodeSelector,
		Containers: []corev1.Container{{Name: "main", Image: o.image, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: o.command}},
	}
}

func (native) look(object client.Object) look {
	pod := object.(*corev1.Pod)
	l := look{bound: pod.Spec.NodeName != "", running: pod.Status.Phase == corev1.PodRunning,
		ready: slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})}
	if pod.Status.Phase == corev1.PodFailed && pod.DeletionTimestamp.IsZero() {
		l.failed = pod.Status.Reason + " " + pod.Status.Message
	}
	for _, c := range pod.Status.ContainerStatuses {
		l.restarts, l.container = c.RestartCount, containerLook(c.ContainerID, c.State.Running)
	}
	return l
}

func (native) replicaSet(o podOptions, replicas int32) client.Object {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: o.labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: o.labels}, Spec: nativeSpec(o)},
		},
	}
}

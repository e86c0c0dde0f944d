package twin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// view is what the API says of a Pod or a MiniPod: what it says, by what it says it of. Times and addresses are not told, but whether there are any.
type view map[string]string

// viewOf reads the status of either kind as that of a Pod: the fields have the same names.
func viewOf(object *unstructured.Unstructured) (view, error) {
	var pod corev1.Pod
	content := map[string]any{"metadata": object.Object["metadata"], "status": object.Object["status"]}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &pod); err != nil {
		return nil, err
	}
	status, v := &pod.Status, view{}
	v["phase"] = string(status.Phase)
	v["reason"] = status.Reason
	v["message"] = status.Message
	v["qosClass"] = string(status.QOSClass)
	v["podIP"] = some(status.PodIP != "")
	v["podIPs"] = fmt.Sprint(len(status.PodIPs))
	v["hostIP"] = some(status.HostIP != "")
	v["hostIPs"] = fmt.Sprint(len(status.HostIPs))
	v["startTime"] = some(status.StartTime != nil)
	v["observedGeneration"] = fmt.Sprint(status.ObservedGeneration)
	if pod.DeletionTimestamp != nil {
		v["deletion"] = "asked for"
	}
	for _, c := range status.Conditions {
		v["condition "+string(c.Type)] = words(string(c.Status), c.Reason, quoted(c.Message))
	}
	for _, c := range status.InitContainerStatuses {
		v.container("init "+c.Name, c)
	}
	for _, c := range status.ContainerStatuses {
		v.container(c.Name, c)
	}
	unnamed := strings.NewReplacer(string(pod.UID), "UID", pod.Namespace, "NAMESPACE", pod.Name, "NAME")
	for key, said := range v {
		v[key] = unnamed.Replace(said)
	}
	return v, nil
}

func (v view) container(name string, c corev1.ContainerStatus) {
	v[name] = state(c.State)
	v[name+" last"] = state(c.LastTerminationState)
	v[name+" restarts"] = fmt.Sprint(c.RestartCount)
	v[name+" ready"] = fmt.Sprint(c.Ready)
	v[name+" started"] = "not told"
	if c.Started != nil {
		v[name+" started"] = fmt.Sprint(*c.Started)
	}
	v[name+" image"] = c.Image
	v[name+" imageID"] = some(c.ImageID != "")
	v[name+" containerID"] = some(c.ContainerID != "")
	v[name+" resources"] = some(c.Resources != nil)
	v[name+" volumeMounts"] = some(len(c.VolumeMounts) > 0)
	v[name+" user"] = some(c.User != nil)
}

func state(s corev1.ContainerState) string {
	switch {
	case s.Waiting != nil:
		return words("waiting", s.Waiting.Reason, quoted(s.Waiting.Message))
	case s.Running != nil:
		return words("running", since(s.Running.StartedAt))
	case s.Terminated != nil:
		t, signal := s.Terminated, ""
		if t.Signal != 0 {
			signal = fmt.Sprintf("signal %d", t.Signal)
		}
		return words("terminated", fmt.Sprint(t.ExitCode), t.Reason, signal, quoted(t.Message), since(t.StartedAt), until(t.FinishedAt))
	}
	return ""
}

func since(t metav1.Time) string {
	if t.IsZero() {
		return "since nobody knows when"
	}
	return ""
}

func until(t metav1.Time) string {
	if t.IsZero() {
		return "until nobody knows when"
	}
	return ""
}

func some(is bool) string {
	if is {
		return "some"
	}
	return "none"
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%q", s)
}

func words(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), " ")
}

// has tells whether a moment has come: "c: waiting CrashLoopBackOff; c restarts: 1". Each part is a key, and how what is said of it
// begins, or how else.
func (v view) has(moment string) bool {
	for part := range strings.SplitSeq(moment, "; ") {
		key, want, _ := strings.Cut(part, ": ")
		if !slices.ContainsFunc(strings.Split(want, " or "), func(begin string) bool { return strings.HasPrefix(v[key], begin) }) {
			return false
		}
	}
	return true
}

func (v view) String() string {
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(v)) {
		if v[key] != "" {
			fmt.Fprintf(&out, "  %s: %s\n", key, v[key])
		}
	}
	return out.String()
}

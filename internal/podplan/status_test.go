package podplan

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

func testNode(runtimeName string) Node { return Node{IP: "10.0.0.1", RuntimeName: runtimeName} }

// brief is the part of a status that people see.
type brief struct {
	Phase          miniv1.MiniPodPhase
	Summary, Ready string
	Restarts       int32
	Condition      string // reason of Ready
}

func briefOf(s miniv1.MiniPodStatus) brief {
	out := brief{Phase: s.Phase, Summary: s.Summary, Ready: s.ReadyContainers, Restarts: s.Restarts}
	for _, c := range s.Conditions {
		if c.Type == miniv1.ConditionReady {
			out.Condition = c.Reason
		}
	}
	return out
}

func TestStatusBrief(t *testing.T) {
	never, onFailure := policy(corev1.RestartPolicyNever), policy(corev1.RestartPolicyOnFailure)
	notReady, isReady := miniv1.ReasonContainersNotReady, miniv1.ReasonContainersReady
	img := func(i Image) func(*Observation) {
		return func(o *Observation) { i.Ref = "echo:test"; o.Images["main"] = i }
	}
	pullPolicy := func(p corev1.PullPolicy) func(*miniv1.MiniPod) {
		return func(pod *miniv1.MiniPod) { pod.Spec.Containers[0].ImagePullPolicy = p }
	}
	oom := func(c *Container) { exited(137, 0, 1)(c); c.OOMKilled = true }
	takenAlong := func(c *Container) { exited(137, 0, 1)(c); c.ServerFailed = true }
	cases := []struct {
		name string
		pod  *miniv1.MiniPod
		seen Observation
		now  time.Time
		want brief
	}{
		{"nothing yet", testPod().Obj(), NewObservation(), t0, brief{"Pending", "ContainerCreating", "0/1", 0, notReady}},
		{"created", testPod().Obj(), seen(container("main", 0, 0)), t0, brief{"Pending", "ContainerCreating", "0/1", 0, notReady}},
		{"running", testPod().Obj(), seen(container("main", 0, 0, runs)), t0, brief{"Running", "Running", "1/1", 0, isReady}},
		{"one of two", testPod("main", "b").Obj(), seen(container("main", 0, 0, runs)), t0, brief{"Pending", "ContainerCreating", "1/2", 0, notReady}},
		{"two of two", testPod("main", "b").Obj(), seen(container("main", 2, 2, runs), container("b", 1, 0, runs)), t0, brief{"Running", "Running", "2/2", 3, isReady}},
		{"crash, about to restart", testPod().Obj(), seen(container("main", 0, 0, exited(1, 0, 1))), at(1), brief{"Running", "ContainerCreating", "0/1", 0, notReady}},
		{"crash loop", testPod().Obj(), seen(container("main", 1, 1, exited(1, 0, 1))), at(2), brief{"Running", "CrashLoopBackOff", "0/1", 1, notReady}},
		{"crash loop on failure", testPod().With(onFailure).Obj(), seen(container("main", 1, 1, exited(1, 0, 1))), at(2), brief{"Running", "CrashLoopBackOff", "0/1", 1, notReady}},
		{"succeeded", testPod().With(onFailure).Obj(), seen(container("main", 1, 1, exited(0, 0, 1))), at(2), brief{"Succeeded", "Completed", "0/1", 1, miniv1.ReasonPodCompleted}},
		{"failed", testPod().With(never).Obj(), seen(container("main", 0, 0, exited(3, 0, 1))), at(2), brief{"Failed", "Error", "0/1", 0, miniv1.ReasonPodFailed}},
		{"oom", testPod().With(never).Obj(), seen(container("main", 0, 0, oom)), at(2), brief{"Failed", "OOMKilled", "0/1", 0, miniv1.ReasonPodFailed}},
		{"its server failed", testPod().With(never).Obj(), seen(container("main", 0, 0, takenAlong)), at(2), brief{"Failed", "ShimFailed", "0/1", 0, miniv1.ReasonPodFailed}},
		{"reboot", testPod().With(never).Obj(), seen(container("main", 0, 0, unknown)), at(2), brief{"Failed", "ContainerStatusUnknown", "0/1", 0, miniv1.ReasonPodFailed}},
		{"one completed, one runs", testPod("main", "b").With(onFailure).Obj(), seen(container("main", 0, 0, exited(0, 0, 1)), container("b", 0, 0, runs)), at(2),
			brief{"Running", "NotReady", "1/2", 0, notReady}},
		{"one failed, one runs", testPod("main", "b").With(never).Obj(), seen(container("main", 0, 0, exited(1, 0, 1)), container("b", 0, 0, runs)), at(2),
			brief{"Running", "Error", "1/2", 0, notReady}},
		{"one failed, one succeeded", testPod("main", "b").With(never).Obj(), seen(container("main", 0, 0, exited(1, 0, 1)), container("b", 0, 0, exited(0, 0, 1))), at(2),
			brief{"Failed", "Error", "0/2", 0, miniv1.ReasonPodFailed}},
		{"one succeeded, one failed", testPod("main", "b").With(never).Obj(), seen(container("main", 0, 0, exited(0, 0, 1)), container("b", 0, 0, exited(4, 0, 1))), at(2),
			brief{"Failed", "Error", "0/2", 0, miniv1.ReasonPodFailed}},
		{"pulling", testPod().Obj(), with(seen(), img(Image{State: ImagePulling})), at(1), brief{"Pending", "ContainerCreating", "0/1", 0, notReady}},
		{"pull failed", testPod().Obj(), with(seen(), img(Image{State: ImageFailed, Failures: 1, FailedAt: at(0)})), at(1), brief{"Pending", "ErrImagePull", "0/1", 0, notReady}},
		{"pull back-off", testPod().Obj(), with(seen(), img(Image{State: ImageFailed, Failures: 1, FailedAt: at(0)})), at(5), brief{"Pending", "ImagePullBackOff", "0/1", 0, notReady}},
		{"pulling again", testPod().Obj(), with(seen(), img(Image{State: ImagePulling, Failures: 2, FailedAt: at(0)})), at(1), brief{"Pending", "ImagePullBackOff", "0/1", 0, notReady}},
		{"never pull", testPod().With(pullPolicy(corev1.PullNever)).Obj(), with(seen(), img(Image{State: ImageFailed, Failures: 1})), at(1), brief{"Pending", "ErrImageNeverPull", "0/1", 0, notReady}},
		{"invalid name", testPod().With(func(p *miniv1.MiniPod) { p.Spec.Containers[0].Image = "A B" }).Obj(), seen(), at(1), brief{"Pending", "InvalidImageName", "0/1", 0, notReady}},
		{"cannot create", testPod().Obj(), with(seen(), failed(taskOf("main"), Failure{Reason: miniv1.ReasonCreateContainerError, SpecHash: mainHash})), at(1),
			brief{"Pending", "CreateContainerError", "0/1", 0, notReady}},
		{"cannot start", testPod().Obj(), with(seen(), failed(taskOf("main"), Failure{Reason: miniv1.ReasonRunContainerError, SpecHash: mainHash})), at(1),
			brief{"Pending", "RunContainerError", "0/1", 0, notReady}},
		{"cannot start, and waits", testPod().Obj(), with(seen(), failed(taskOf("main"), Failure{Reason: miniv1.ReasonRunContainerError, SpecHash: mainHash, At: at(0), Count: 2, Starts: 2})), at(1),
			brief{"Running", "CrashLoopBackOff", "0/1", 1, notReady}},
		{"cannot start, never", testPod().With(never).Obj(), with(seen(), failed(taskOf("main"), Failure{Reason: miniv1.ReasonRunContainerError, SpecHash: mainHash})), at(1),
			brief{"Failed", "StartError", "0/1", 0, miniv1.ReasonPodFailed}},
		{"no address", testPod().Obj(), with(NewObservation(), func(o *Observation) {
			o.Failures = map[Task]Failure{groundTask: {Reason: miniv1.ReasonContainerCreating, Message: "no address"}}
		}), at(1), brief{"Pending", "ContainerCreating", "0/1", 0, notReady}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, briefOf(Status(c.pod, &c.seen, testNode("fake"), c.now))); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusFull(t *testing.T) {
	scheduled := metav1.Condition{Type: miniv1.ConditionPodScheduled, Status: metav1.ConditionTrue, Reason: miniv1.ReasonScheduled, LastTransitionTime: metav1.NewTime(at(-9))}
	pod := testPod().With(func(p *miniv1.MiniPod) { p.Generation = 3; p.Status.Conditions = []metav1.Condition{scheduled} }).Obj()
	o := seen(container("main", 1, 1, runs), container("main", 0, 0, exited(7, -60, -50)))
	got := Status(pod, &o, testNode("fake"), t0.Add(300*time.Millisecond))
	stamp := func(s int) metav1.Time { return metav1.NewTime(at(s)) }
	ready := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonContainersReady, ObservedGeneration: 3, LastTransitionTime: stamp(0)}
	containersReady := ready
	containersReady.Type = miniv1.ConditionContainersReady
	initialized := ready
	initialized.Type, initialized.Reason = miniv1.ConditionInitialized, miniv1.ReasonContainersInitialized
	start, started := stamp(0), true
	want := miniv1.MiniPodStatus{
		ObservedGeneration: 3, NodeName: "n1", Phase: "Running", Summary: "Running", ReadyContainers: "1/1", Restarts: 1,
		HostIP: "10.0.0.1", PodIP: "100.64.0.9", QOSClass: "BestEffort", StartTime: &start,
		StartTimeline: &miniv1.StartTimeline{ObservedTime: new(metav1.NewMicroTime(t0)), ReadyTime: new(metav1.NewMicroTime(t0.Add(300 * time.Millisecond)))},
		Conditions:    []metav1.Condition{scheduled, initialized, containersReady, ready},
		ContainerStatuses: []miniv1.ContainerStatus{{
			Name: "main", Ready: true, Started: &started, RestartCount: 1, Image: "echo:test", ImageID: "sha256:1", ContainerID: "fake://" + id("main", 1),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: stamp(0)}},
			LastState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 7, Reason: "Error",
				StartedAt: stamp(-60), FinishedAt: stamp(-50), ContainerID: "fake://" + id("main", 0)}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}

	// A later telling of the same start, by the runtime, changes nothing; that of another start does.
	pod.Status = got
	o.Containers[0].StartedAt = at(1)
	if diff := cmp.Diff(want, Status(pod, &o, testNode("fake"), at(60))); diff != "" {
		t.Errorf("told again (-want +got):\n%s", diff)
	}
	o.Containers[0].StartedAt = at(5)
	if again := Status(pod, &o, testNode("fake"), at(60)); again.ContainerStatuses[0].State.Running.StartedAt != stamp(5) {
		t.Errorf("another start: %v", again.ContainerStatuses[0].State.Running)
	}
}

// What a version says besides is no reason to write a status of before, until something else is.
func TestStatusOfEarlierVersion(t *testing.T) {
	pod, o := testPod().Obj(), seen(container("main", 0, 0, runs))
	full := Status(pod, &o, testNode("fake"), t0)
	pod.Status = *full.DeepCopy()
	pod.Status.Conditions = slices.DeleteFunc(pod.Status.Conditions, func(c metav1.Condition) bool { return c.Type == miniv1.ConditionInitialized })
	pod.Status.ContainerStatuses[0].Started = nil
	if diff := cmp.Diff(pod.Status, Status(pod, &o, testNode("fake"), at(60))); diff != "" {
		t.Errorf("it is written again (-was +is):\n%s", diff)
	}
	o.Set(container("main", 0, 0, exited(1, 0, 61)))
	if got := Status(pod, &o, testNode("fake"), at(61)); len(got.Conditions) != len(full.Conditions) || got.ContainerStatuses[0].Started == nil {
		t.Errorf("it does not say all: %+v", got)
	}
}

func TestStatusOfFinished(t *testing.T) {
	pod := testPod().Phase(miniv1.PodFailed).With(func(p *miniv1.MiniPod) { p.Generation = 2; p.Status.Summary = "Error" }).Obj()
	o := NewObservation()
	want := *pod.Status.DeepCopy()
	want.ObservedGeneration = 2
	if diff := cmp.Diff(want, Status(pod, &o, testNode("fake"), t0)); diff != "" {
		t.Errorf("a finished MiniPod changed (-want +got):\n%s", diff)
	}
}

// What a container said at last is its message, and stays it where nobody can read it any more.
func TestLastWords(t *testing.T) {
	pod := testPod().Obj()
	o := seen(container("main", 1, 1, runs), container("main", 0, 0, exited(3, -2, -1)))
	message := func() string {
		pod.Status = Status(pod, &o, testNode("fake"), at(2))
		return pod.Status.ContainerStatuses[0].LastState.Terminated.Message
	}
	o.LastWords = map[string]string{id("main", 0): "no database"}
	if got := message(); got != "no database" {
		t.Errorf("read: %q", got)
	}
	o.LastWords = nil // another agent, and the sandbox is gone
	if got := message(); got != "no database" {
		t.Errorf("as it was published: %q", got)
	}
	o.LastWords = map[string]string{id("main", 0): ""}
	if got := message(); got != "" {
		t.Errorf("read again: %q", got)
	}
}

// What became of recursiveReadOnly is said from the beginning, and of nothing else. It stays what it was when the container was made; and what an
// earlier version did not say of one is no reason for a write.
func TestStatusOfMounts(t *testing.T) {
	mode := func(m corev1.RecursiveReadOnlyMode) *corev1.RecursiveReadOnlyMode { return new(m) }
	mounts := []miniv1.VolumeMount{{Name: "a", MountPath: "/a"}, {Name: "b", MountPath: "/b", ReadOnly: true}, {Name: "c", MountPath: "/c", ReadOnly: true, RecursiveReadOnly: mode("Disabled")},
		{Name: "d", MountPath: "/d", ReadOnly: true, RecursiveReadOnly: mode("IfPossible")}, {Name: "e", MountPath: "/e", ReadOnly: true, RecursiveReadOnly: mode("Enabled")}}
	pod := testPod().With(func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].VolumeMounts = mounts
		p.Spec.InitContainers = []miniv1.Container{{Name: "i", Image: "echo:test", VolumeMounts: mounts[3:4]}}
	}).Obj()
	of := func(became corev1.RecursiveReadOnlyMode, names ...string) (out []miniv1.VolumeMountStatus) {
		for _, name := range names {
			out = append(out, miniv1.VolumeMountStatus{Name: name, MountPath: "/" + name, ReadOnly: true, RecursiveReadOnly: mode(became)})
		}
		return out
	}
	able, unable := testNode("r"), testNode("r")
	able.RecursiveReadOnly = true
	check := func(what string, status miniv1.MiniPodStatus, main, init []miniv1.VolumeMountStatus) {
		t.Helper()
		if diff := cmp.Diff([][]miniv1.VolumeMountStatus{main, init}, [][]miniv1.VolumeMountStatus{status.ContainerStatuses[0].VolumeMounts, status.InitContainerStatuses[0].VolumeMounts}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	o := NewObservation()
	check("a node that can", Status(pod, &o, able, t0), of("Enabled", "d", "e"), of("Enabled", "d"))
	check("one that cannot", Status(pod, &o, unable, t0), of("Disabled", "d", "e"), of("Disabled", "d"))

	o = seen(container("i", 0, 0, exited(0, 0, 1)), container("main", 0, 0, runs))
	pod.Status = Status(pod, &o, able, t0)
	check("the node became another", Status(pod, &o, unable, t0), of("Enabled", "d", "e"), of("Enabled", "d"))
	o = seen(container("i", 0, 0, exited(0, 0, 1)), container("main", 1, 0, runs))
	check("and the container, too", Status(pod, &o, unable, t0), of("Disabled", "d", "e"), of("Enabled", "d"))
	pod.Status.ContainerStatuses[0].VolumeMounts, pod.Status.InitContainerStatuses[0].VolumeMounts = nil, nil
	o = seen(container("i", 0, 0, exited(0, 0, 1)), container("main", 0, 0, runs))
	check("an earlier version said nothing", Status(pod, &o, able, t0), nil, nil)
}

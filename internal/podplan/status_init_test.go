package podplan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// initBrief is what `kubectl get` shows, the phase, and the two conditions.
type initBrief struct {
	Phase          miniv1.MiniPodPhase
	Summary, Ready string
	Restarts       int32
	Initialized    string // the incomplete ones, or "" where all are
	Unready        string
}

func initBriefOf(s miniv1.MiniPodStatus) initBrief {
	initialized := meta.FindStatusCondition(s.Conditions, miniv1.ConditionInitialized)
	ready := meta.FindStatusCondition(s.Conditions, miniv1.ConditionReady)
	return initBrief{s.Phase, s.Summary, s.ReadyContainers, s.Restarts, initialized.Message, ready.Message}
}

// What a native Pod of two init containers, one of them a sidecar, and a main one shows in the same histories.
func TestStatusOfInitContainers(t *testing.T) {
	row, never, onFailure := kinds{initial, sidecar, mainOne}, policy(corev1.RestartPolicyNever), policy(corev1.RestartPolicyOnFailure)
	pod, once, failing := testPod("i", "s", "m").Obj(), testPod("i", "s", "m").With(never).Obj(), testPod("i", "s", "m").With(onFailure).Obj()
	here := func(containers ...Container) Observation {
		return with(seen(containers...), func(o *Observation) { o.SandboxID = "box-2" })
	}
	elsewhere := func(c Container) Container { c.Sandbox = "box-1"; return c }
	done, failed := container("i", 0, 0, exited(0, 0, 1)), container("i", 0, 0, exited(1, 0, 1))
	crashed := container("i", 2, 2, exited(1, 0, 1))
	s, m := container("s", 0, 0, runs), container("m", 0, 0, runs)
	sEnded, mEnded := container("s", 0, 0, exited(143, 0, 2)), container("m", 0, 0, exited(0, 0, 1))
	const all, rest, unready, onlyMain = "containers with incomplete status: [i s]", "containers with incomplete status: [s]",
		"containers with unready status: [s m]", "containers with unready status: [m]"
	for _, c := range []struct {
		name string
		pod  *miniv1.MiniPod
		seen Observation
		now  time.Time
		want initBrief
	}{
		{"nothing yet", pod, NewObservation(), t0, initBrief{"Pending", "Init:0/2", "0/2", 0, all, unready}},
		{"the first runs", pod, here(container("i", 0, 0, runs)), t0, initBrief{"Pending", "Init:0/2", "0/2", 0, all, unready}},
		{"it failed, and is tried again", pod, here(crashed), at(2), initBrief{"Pending", "Init:CrashLoopBackOff", "0/2", 2, all, unready}},
		{"also OnFailure", failing, here(crashed), at(2), initBrief{"Pending", "Init:CrashLoopBackOff", "0/2", 2, all, unready}},
		{"it failed for good", once, here(failed), at(2), initBrief{"Failed", "Init:Error", "0/2", 0, all, ""}},
		{"it failed for good, and a sidecar still runs", once, here(failed, s), at(2), initBrief{"Pending", "Init:Error", "0/2", 0, "containers with incomplete status: [i]", onlyMain}},
		{"then it has ended", once, here(failed, sEnded), at(3), initBrief{"Failed", "Init:Error", "0/2", 0, all, ""}},
		{"it cannot be started", once, with(here(), failedTo("i", miniv1.ReasonRunContainerError)), t0, initBrief{"Failed", "Init:StartError", "0/2", 0, all, ""}},
		{"it cannot be started, and is tried again", pod, with(here(), failedTo("i", miniv1.ReasonRunContainerError)), t0,
			initBrief{"Pending", "Init:RunContainerError", "0/2", 0, all, unready}},
		{"its image is not there", pod, with(here(), func(o *Observation) {
			o.Images["i"] = Image{Ref: "echo:test", State: ImageFailed, Failures: 2, FailedAt: t0}
		}), t0, initBrief{"Pending", "Init:ImagePullBackOff", "0/2", 0, all, unready}},
		{"its image is being pulled", pod, with(here(), func(o *Observation) { o.Images["i"] = Image{Ref: "echo:test", State: ImagePulling} }), t0,
			initBrief{"Pending", "Init:0/2", "0/2", 0, all, unready}},
		{"there is no network", pod, with(NewObservation(), func(o *Observation) {
			o.Failures = map[Task]Failure{groundTask: {Reason: miniv1.ReasonContainerCreating, Message: "no address"}}
		}), t0, initBrief{"Pending", "Init:0/2", "0/2", 0, all, unready}},
		{"it ended well", pod, here(done), at(1), initBrief{"Pending", "Init:1/2", "0/2", 0, rest, unready}},
		{"the sidecar runs", pod, here(done, s), at(1), initBrief{"Pending", "PodInitializing", "1/2", 0, "", onlyMain}},
		{"the sidecar crashes before", pod, here(done, container("s", 1, 1, exited(1, 0, 1))), at(2),
			initBrief{"Pending", "Init:CrashLoopBackOff", "0/2", 1, rest, unready}},
		{"all run", pod, here(done, s, m), at(1), initBrief{"Running", "Running", "2/2", 0, "", ""}},
		{"restarts of init containers are forgotten then, and those of sidecars are not", pod, here(container("i", 3, 3, exited(0, 0, 1)), container("s", 2, 2, runs), m), at(1),
			initBrief{"Running", "Running", "2/2", 2, "", ""}},
		{"the sidecar crashes beside the main one", pod, here(done, container("s", 1, 1, exited(1, 0, 1)), m), at(2),
			initBrief{"Running", "Init:CrashLoopBackOff", "1/2", 1, "", "containers with unready status: [s]"}},
		{"nobody tells of the sidecar", pod, here(done, container("s", 0, 0, unanswered), m), at(2),
			initBrief{"Running", "Init:ContainerStatusUnknown", "1/2", 0, "", "containers with unready status: [s]"}},
		{"the main one crashes", pod, here(done, s, container("m", 1, 1, exited(1, 0, 1))), at(2),
			initBrief{"Running", "CrashLoopBackOff", "1/2", 1, "", onlyMain}},
		{"the main one has ended, the sidecar not yet", once, here(done, s, mEnded), at(2), initBrief{"Running", "Completed", "1/2", 0, "", onlyMain}},
		{"both have", once, here(done, sEnded, mEnded), at(3), initBrief{"Succeeded", "Completed", "0/2", 0, "", ""}},
		{"the main one failed", once, here(done, sEnded, container("m", 0, 0, exited(3, 0, 1))), at(3), initBrief{"Failed", "Error", "0/2", 0, "", ""}},
		{"the record of the init container is gone", pod, here(s, m), at(3), initBrief{"Running", "Running", "2/2", 0, "", ""}},
		{"another sandbox: the first runs again", pod, here(elsewhere(done), container("i", 1, 0, runs), elsewhere(container("s", 0, 0, unknown)), elsewhere(container("m", 0, 0, unknown))), at(3),
			initBrief{"Pending", "PodInitializing", "0/2", 0, "", unready}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status := Status(row.real(c.pod), &c.seen, testNode("fake"), c.now)
			if diff := cmp.Diff(c.want, initBriefOf(status)); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func failedTo(name, reason string) func(*Observation) {
	return failed(taskOf(name), Failure{Reason: reason, Count: 1, At: t0, SpecHash: mainHash})
}

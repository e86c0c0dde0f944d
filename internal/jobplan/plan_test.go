package jobplan_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/jobplan"
)

// brief is what a test sees of a MiniJob after a pass that lived.
func (s *sim) brief() string {
	st := &s.job.Status
	active := 0
	for _, pod := range s.pods {
		if s.tracked(pod) && pod.DeletionTimestamp == nil && pod.Status.Phase != miniv1.PodSucceeded && pod.Status.Phase != miniv1.PodFailed {
			active++
		}
	}
	if active != int(st.Active) {
		s.Errorf("%d active, the status says %d", active, st.Active)
	}
	out := fmt.Sprintf("%s %s active=%d failed=%d", st.Summary, st.Progress, st.Active, st.Failed)
	if st.CompletedIndexes != "" {
		out += " done=" + st.CompletedIndexes
	}
	if st.FailedIndexes != nil && *st.FailedIndexes != "" {
		out += " lost=" + *st.FailedIndexes
	}
	for _, kind := range []string{miniv1.ConditionComplete, miniv1.ConditionFailed, miniv1.ConditionFailureTarget, miniv1.ConditionSuccessCriteriaMet} {
		if c := meta.FindStatusCondition(st.Conditions, kind); c != nil {
			return out + " " + c.Reason
		}
	}
	return out
}

// settle passes until nothing changes any more, and lets MiniPods that are being deleted go.
func (s *sim) settle() string {
	s.Helper()
	for range 20 {
		before, n := s.job.Status.DeepCopy(), len(s.pods)
		s.pass()
		s.check()
		moved := false
		for _, pod := range s.pods {
			if pod.DeletionTimestamp != nil && slices.Contains(pod.Finalizers, miniv1.AgentFinalizer) {
				moved = true
				pod.Finalizers = slices.DeleteFunc(pod.Finalizers, func(f string) bool { return f == miniv1.AgentFinalizer })
				s.collect(pod)
			}
		}
		if !moved && cmp.Equal(before, &s.job.Status) && len(s.pods) == n {
			return s.brief()
		}
	}
	s.Fatal("does not settle")
	return ""
}

func (s *sim) want(want string) {
	s.Helper()
	if diff := cmp.Diff(want, s.settle()); diff != "" {
		s.Fatalf("(-want,+got):\n%s", diff)
	}
}

// at is the MiniPod of an index, or in order of creation, that is active.
func (s *sim) at(n int) *miniv1.MiniPod {
	s.Helper()
	var active []*miniv1.MiniPod
	for _, uid := range slices.Sorted(keys(s.pods)) {
		pod := s.pods[uid]
		if pod.DeletionTimestamp != nil || pod.Status.Phase == miniv1.PodSucceeded || pod.Status.Phase == miniv1.PodFailed {
			continue
		}
		if s.job.Spec.CompletionMode == batchv1.IndexedCompletion && pod.Annotations[batchv1.JobCompletionIndexAnnotation] == fmt.Sprint(n) {
			return pod
		}
		active = append(active, pod)
	}
	if s.job.Spec.CompletionMode == batchv1.IndexedCompletion || n >= len(active) {
		s.Fatalf("there is no active MiniPod %d", n)
	}
	return active[n]
}

func (s *sim) succeed(n int)          { s.Helper(); s.finish(s.at(n), miniv1.PodSucceeded, 0) }
func (s *sim) fail(n int, code int32) { s.Helper(); s.finish(s.at(n), miniv1.PodFailed, code) }
func (s *sim) wait(d time.Duration)   { s.now = s.now.Add(d) }

func exitCodes(action batchv1.PodFailurePolicyAction, codes ...int32) miniv1.PodFailurePolicyRule {
	return miniv1.PodFailurePolicyRule{Action: action, OnExitCodes: &miniv1.PodFailurePolicyOnExitCodes{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: codes}}
}

func failurePolicy(rules ...miniv1.PodFailurePolicyRule) func(*miniv1.MiniJobSpec) {
	return func(s *miniv1.MiniJobSpec) { s.PodFailurePolicy = &miniv1.PodFailurePolicy{Rules: rules} }
}

func TestCompletes(t *testing.T) {
	s := newSim(t, 1, completions(3, 2))
	s.want("Running 0/3 active=2 failed=0")
	s.succeed(0)
	s.want("Running 1/3 active=2 failed=0")
	s.succeed(0)
	s.want("Running 2/3 active=1 failed=0")
	s.wait(90 * time.Second)
	s.succeed(0)
	s.want("Complete 3/3 active=0 failed=0 CompletionsReached")
	if st := s.job.Status; st.CompletionTime == nil || !st.CompletionTime.Time.Equal(s.now) || !st.StartTime.Time.Equal(t0) || st.Duration != "90s" {
		t.Errorf("times %+v", st)
	}
}

// Nothing of it is written: the first and the last are what batch/v1 makes of it.
func TestDefaults(t *testing.T) {
	s := newSim(t, 1)
	s.want("Running 0/1 active=1 failed=0")
	s.succeed(0)
	s.want("Complete 1/1 active=0 failed=0 CompletionsReached")
}

func TestWorkQueue(t *testing.T) {
	s := newSim(t, 1, func(s *miniv1.MiniJobSpec) { n := int32(3); s.Parallelism = &n })
	s.want("Running 0/1 of 3 active=3 failed=0")
	s.succeed(1)
	s.want("Running 1/1 of 3 active=2 failed=0")
	s.fail(0, 1)
	s.want("Running 1/1 of 3 active=1 failed=1")
	s.succeed(0)
	s.want("Complete 2/1 of 3 active=0 failed=1 CompletionsReached")
}

func TestScales(t *testing.T) {
	s := newSim(t, 1, completions(10, 4))
	s.want("Running 0/10 active=4 failed=0")
	*s.job.Spec.Parallelism = 2
	s.want("Running 0/10 active=2 failed=0")
	*s.job.Spec.Parallelism = 0
	s.want("Running 0/10 active=0 failed=0")
	*s.job.Spec.Parallelism = 20
	s.want("Running 0/10 active=10 failed=0")
	if zero := newSim(t, 1, completions(0, 3)); zero.settle() != "Complete 0/0 active=0 failed=0 CompletionsReached" {
		t.Errorf("nothing to do: %s", zero.brief())
	}
}

func TestBackoff(t *testing.T) {
	s := newSim(t, 1, completions(1, 1), backoffLimit(20))
	s.want("Running 0/1 active=1 failed=0")
	for i, pause := range []time.Duration{10, 20, 40, 80, 160, 320, 360, 360} {
		s.fail(0, 1)
		s.want(fmt.Sprintf("Running 0/1 active=0 failed=%d", i+1))
		if s.plan.Wake != pause*time.Second {
			t.Errorf("failure %d: looks again after %v, want %d s", i+1, s.plan.Wake, pause)
		}
		s.wait(pause*time.Second - time.Nanosecond)
		if i == 3 {
			s.backoff = nil // another manager, which remembers nothing, sees it all the same
		}
		s.want(fmt.Sprintf("Running 0/1 active=0 failed=%d", i+1))
		s.wait(time.Nanosecond)
		s.want(fmt.Sprintf("Running 0/1 active=1 failed=%d", i+1))
	}
}

// A success makes up for the failures before it.
func TestBackoffEndsWithSuccess(t *testing.T) {
	s := newSim(t, 1, completions(5, 2), backoffLimit(20))
	s.want("Running 0/5 active=2 failed=0")
	s.fail(0, 1)
	s.want("Running 0/5 active=1 failed=1")
	s.wait(time.Second)
	s.succeed(0)
	s.want("Running 1/5 active=2 failed=1")
}

func TestBackoffLimit(t *testing.T) {
	s := newSim(t, 1, completions(5, 3), backoffLimit(1))
	s.want("Running 0/5 active=3 failed=0")
	s.fail(0, 1)
	s.want("Running 0/5 active=2 failed=1")
	s.fail(0, 1)
	s.want("Failed 0/5 active=0 failed=3 BackoffLimitExceeded") // the third was ended, and has not succeeded
	if c := meta.FindStatusCondition(s.job.Status.Conditions, miniv1.ConditionStalled); c == nil || c.Reason != "BackoffLimitExceeded" {
		t.Errorf("Stalled is %+v", c)
	}
	if s.job.Status.CompletionTime != nil {
		t.Error("failed, and has a completionTime")
	}
}

func TestRestartsAreFailures(t *testing.T) {
	s := newSim(t, 1, completions(1, 1), backoffLimit(2), func(s *miniv1.MiniJobSpec) { s.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure })
	s.want("Running 0/1 active=1 failed=0")
	s.at(0).Status.ContainerStatuses = []miniv1.ContainerStatus{{Name: "main", RestartCount: 1}}
	s.want("Running 0/1 active=1 failed=0")
	s.at(0).Status.ContainerStatuses[0].RestartCount = 2
	s.want("Failed 0/1 active=0 failed=1 BackoffLimitExceeded")
}

func TestDeadline(t *testing.T) {
	s := newSim(t, 1, completions(2, 2), func(s *miniv1.MiniJobSpec) { d := int64(60); s.ActiveDeadlineSeconds = &d })
	s.want("Running 0/2 active=2 failed=0")
	s.succeed(0)
	s.wait(20 * time.Second)
	s.want("Running 1/2 active=1 failed=0")
	if s.plan.Wake != 40*time.Second {
		t.Errorf("looks again after %v", s.plan.Wake)
	}
	s.wait(40 * time.Second)
	s.want("Failed 1/2 active=0 failed=1 DeadlineExceeded")
}

// A deadline that is longer than any time can be is none.
func TestDeadlineForEver(t *testing.T) {
	for _, limit := range []int64{9_999_999_999, math.MaxInt64} {
		s := newSim(t, 1, completions(1, 1), func(s *miniv1.MiniJobSpec) { s.ActiveDeadlineSeconds = &limit })
		s.want("Running 0/1 active=1 failed=0")
		s.wait(24 * time.Hour)
		s.want("Running 0/1 active=1 failed=0")
	}
}

// The clock of a node may be a day ahead, or behind: the pause after a failure is neither much longer for that, nor none at all.
func TestBackoffBelievesNoClock(t *testing.T) {
	for name, edit := range map[string][]func(*miniv1.MiniJobSpec){
		"plain":     {completions(1, 1), backoffLimit(20)},
		"per index": {completions(1, 1), indexed, perIndex(20)},
	} {
		for _, off := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
			t.Run(fmt.Sprint(name, off), func(t *testing.T) {
				s := newSim(t, 1, edit...)
				s.settle()
				s.fail(0, 1)
				for _, pod := range s.pods {
					pod.Status.ContainerStatuses[0].State.Terminated.FinishedAt = metav1.NewTime(s.now.Add(off))
				}
				s.settle()
				if s.plan.Wake != 10*time.Second {
					t.Errorf("looks again after %v", s.plan.Wake)
				}
				s.wait(10 * time.Second)
				if s.settle(); s.made != 2 {
					t.Errorf("%d made", s.made)
				}
			})
		}
	}
}

func TestSuspend(t *testing.T) {
	yes, no := true, false
	s := newSim(t, 1, completions(3, 2), func(s *miniv1.MiniJobSpec) { s.Suspend = &yes; d := int64(60); s.ActiveDeadlineSeconds = &d })
	s.want("Suspended 0/3 active=0 failed=0")
	if s.job.Status.StartTime != nil {
		t.Error("suspended, and has started")
	}
	s.wait(time.Hour)
	s.job.Spec.Suspend = &no
	s.want("Running 0/3 active=2 failed=0")
	if !s.job.Status.StartTime.Time.Equal(s.now) {
		t.Errorf("started at %v", s.job.Status.StartTime)
	}
	s.succeed(0)
	s.want("Running 1/3 active=2 failed=0")
	s.job.Spec.Suspend = &yes
	s.want("Suspended 1/3 active=0 failed=0") // what ran does not count
	s.wait(time.Hour)
	s.job.Spec.Suspend = nil
	s.want("Running 1/3 active=2 failed=0")
	if c := meta.FindStatusCondition(s.job.Status.Conditions, miniv1.ConditionSuspended); c == nil || c.Status != metav1.ConditionFalse || c.Reason != "JobResumed" {
		t.Errorf("Suspended is %+v", c)
	}
	s.wait(time.Minute)
	s.want("Failed 1/3 active=0 failed=2 DeadlineExceeded")
}

func TestIndexes(t *testing.T) {
	s := newSim(t, 1, completions(5, 3), indexed, backoffLimit(3))
	s.want("Running 0/5 active=3 failed=0")
	s.succeed(1)
	s.want("Running 1/5 active=3 failed=0 done=1")
	s.fail(0, 1)
	s.want("Running 1/5 active=2 failed=1 done=1")
	s.wait(10 * time.Second)
	s.want("Running 1/5 active=3 failed=1 done=1")
	s.succeed(2)
	s.succeed(3)
	s.want("Running 3/5 active=2 failed=1 done=1-3")
	s.succeed(0)
	s.succeed(4)
	s.want("Complete 5/5 active=0 failed=1 done=0-4 CompletionsReached")
}

// Two with one index, and some without: one of each stays.
func TestIndexesTwice(t *testing.T) {
	s := newSim(t, 1, completions(3, 3), indexed)
	s.want("Running 0/3 active=3 failed=0")
	s.create(jobplan.Creation{Index: 1})
	s.create(jobplan.Creation{Index: 7})
	s.create(jobplan.Creation{Index: -1})
	s.want("Running 0/3 active=3 failed=0")
	for i := range 3 {
		s.succeed(i)
	}
	s.want("Complete 3/3 active=0 failed=0 done=0-2 CompletionsReached")
}

// Completions of an Indexed MiniJob follow parallelism.
func TestElastic(t *testing.T) {
	s := newSim(t, 1, completions(4, 4), indexed)
	s.want("Running 0/4 active=4 failed=0")
	s.succeed(3)
	s.want("Running 1/4 active=3 failed=0 done=3")
	*s.job.Spec.Completions, *s.job.Spec.Parallelism = 2, 2
	s.want("Running 0/2 active=2 failed=0")
	*s.job.Spec.Completions, *s.job.Spec.Parallelism = 3, 3
	s.want("Running 0/3 active=3 failed=0")
}

func TestPerIndex(t *testing.T) {
	s := newSim(t, 1, completions(3, 2), indexed, perIndex(1))
	s.want("Running 0/3 active=2 failed=0")
	s.fail(0, 1)
	s.want("Running 0/3 active=2 failed=0") // index 2 does not wait for index 0, which is not counted before it is tried again
	s.succeed(1)
	s.want("Running 1/3 active=1 failed=0 done=1")
	s.wait(10 * time.Second)
	s.want("Running 1/3 active=2 failed=1 done=1")
	if got := s.at(0).Annotations[batchv1.JobIndexFailureCountAnnotation]; got != "1" {
		t.Errorf("failures before: %q", got)
	}
	s.fail(0, 1)
	s.want("Running 1/3 active=1 failed=2 done=1 lost=0")
	s.succeed(2)
	s.want("Failed 2/3 active=0 failed=2 done=1,2 lost=0 FailedIndexes")
}

func TestMaxFailedIndexes(t *testing.T) {
	s := newSim(t, 1, completions(5, 5), indexed, perIndex(0), func(s *miniv1.MiniJobSpec) { n := int32(1); s.MaxFailedIndexes = &n })
	s.want("Running 0/5 active=5 failed=0")
	s.fail(3, 1)
	s.want("Running 0/5 active=4 failed=1 lost=3")
	s.fail(1, 1)
	s.want("Failed 0/5 active=0 failed=5 lost=1,3 MaxFailedIndexesExceeded")
}

func TestFailurePolicy(t *testing.T) {
	disrupted := miniv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionIgnore,
		OnPodConditions: []miniv1.PodFailurePolicyOnPodCondition{{Type: miniv1.ConditionDisruptionTarget, Status: corev1.ConditionTrue}}}
	policy := failurePolicy(exitCodes(batchv1.PodFailurePolicyActionFailJob, 42), disrupted,
		exitCodes(batchv1.PodFailurePolicyActionIgnore, 7), exitCodes(batchv1.PodFailurePolicyActionCount, 8))
	s := newSim(t, 1, completions(5, 3), backoffLimit(3), policy)
	s.want("Running 0/5 active=3 failed=0")
	s.fail(0, 7)
	s.want("Running 0/5 active=2 failed=0")
	s.wait(10 * time.Second)
	s.want("Running 0/5 active=3 failed=0")
	s.fail(0, 8)
	s.fail(0, 1)
	s.want("Running 0/5 active=1 failed=2")
	s.wait(time.Hour)
	s.want("Running 0/5 active=3 failed=2")

	// One that is evicted is replaced when it has ended, and does not count, whether its agent says how it ended or not.
	victim := s.at(0)
	meta.SetStatusCondition(&victim.Status.Conditions, metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue, Reason: "DeletionByDrain"})
	s.delete(victim.UID)
	s.pass()
	if got := s.brief(); got != "Running 0/5 active=2 failed=2" || *s.job.Status.Terminating != 1 {
		t.Errorf("while it ends: %s", got)
	}
	s.wait(time.Hour)
	s.want("Running 0/5 active=3 failed=2")

	s.fail(0, 42)
	s.want("Failed 0/5 active=0 failed=5 PodFailurePolicy")
	c := meta.FindStatusCondition(s.job.Status.Conditions, miniv1.ConditionFailed)
	if want := "failed with exit code 42 matching FailJob rule at index 0"; !strings.Contains(c.Message, want) {
		t.Errorf("message %q", c.Message)
	}
}

func TestFailIndex(t *testing.T) {
	s := newSim(t, 1, completions(3, 3), indexed, perIndex(5), failurePolicy(exitCodes(batchv1.PodFailurePolicyActionFailIndex, 42),
		exitCodes(batchv1.PodFailurePolicyActionIgnore, 7)))
	s.want("Running 0/3 active=3 failed=0")
	s.fail(0, 42)
	s.want("Running 0/3 active=2 failed=1 lost=0")
	s.fail(1, 7)
	s.wait(10 * time.Second)
	s.want("Running 0/3 active=2 failed=1 lost=0")
	if a := s.at(1).Annotations; a[batchv1.JobIndexFailureCountAnnotation] != "0" || a[batchv1.JobIndexIgnoredFailureCountAnnotation] != "1" {
		t.Errorf("annotations %v", a)
	}
}

func TestSuccessPolicy(t *testing.T) {
	indexes, count := "0,3-4", int32(2)
	s := newSim(t, 1, completions(6, 6), indexed, func(s *miniv1.MiniJobSpec) {
		s.SuccessPolicy = &miniv1.SuccessPolicy{Rules: []miniv1.SuccessPolicyRule{{SucceededIndexes: &indexes, SucceededCount: &count}}}
	})
	s.want("Running 0/6 active=6 failed=0")
	s.succeed(1)
	s.succeed(4)
	s.want("Running 2/6 active=4 failed=0 done=1,4")
	s.succeed(0)
	s.want("Complete 3/6 active=0 failed=0 done=0,1,4 SuccessPolicy") // what was ended is no failure
	if c := meta.FindStatusCondition(s.job.Status.Conditions, miniv1.ConditionComplete); c.Message != "Matched rules at index 0" {
		t.Errorf("message %q", c.Message)
	}
}

// With TerminatingOrFailed one that is being deleted is replaced at once and has failed; with Failed it is when it has ended.
func TestReplacement(t *testing.T) {
	for name, edit := range map[string]func(*miniv1.MiniJobSpec){"at once": func(*miniv1.MiniJobSpec) {}, "when it has ended": late} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, 1, completions(2, 2), backoffLimit(9), edit)
			s.want("Running 0/2 active=2 failed=0")
			s.delete(s.at(0).UID)
			s.wait(time.Hour)
			s.pass()
			s.pass()
			want := "Running 0/2 active=2 failed=1"
			if name != "at once" {
				want = "Running 0/2 active=1 failed=0"
			}
			if got := s.brief(); got != want {
				t.Errorf("while it ends: %s, want %s", got, want)
			}
			s.wait(time.Hour)
			s.want("Running 0/2 active=2 failed=1")
		})
	}
}

// Somebody took the finalizer off one that runs: it could not be counted, and is replaced.
func TestStrays(t *testing.T) {
	s := newSim(t, 1, completions(2, 2))
	s.want("Running 0/2 active=2 failed=0")
	s.release(s.at(0).UID)
	s.want("Running 0/2 active=2 failed=0")
	if s.made != 3 {
		t.Errorf("%d made", s.made)
	}
}

// A manager that dies while it drops MiniPods leaves some without the finalizer. They end with their MiniJob, whatever becomes of it before the next
// pass, and also after that.
func TestStraysEndWithTheMiniJob(t *testing.T) {
	for name, over := range map[string]func(s *sim){
		"failed":   func(s *sim) { s.fail(0, 1) },
		"complete": func(s *sim) { s.succeed(0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, 1, completions(1, 2), backoffLimit(0))
			s.job.Spec.Completions = nil
			s.settle()
			stray := s.at(1)
			over(s)
			s.release(stray.UID)
			s.settle()
			if !jobplan.IsFinished(s.job) || s.pods[stray.UID] != nil {
				t.Errorf("finished: %t, and the stray is %+v", jobplan.IsFinished(s.job), s.pods[stray.UID])
			}
			late := s.create(jobplan.Creation{Index: -1})
			s.release(late.UID)
			s.settle()
			if s.pods[late.UID] != nil {
				t.Error("one that came late stays")
			}
		})
	}
}

// A MiniJob that is being deleted counts what has ended, lets everything go, and makes nothing.
func TestBeingDeleted(t *testing.T) {
	s := newSim(t, 1, completions(4, 3))
	s.want("Running 0/4 active=3 failed=0")
	s.succeed(0)
	deleted := metav1.NewTime(s.now)
	s.job.DeletionTimestamp = &deleted
	s.pass()
	s.pass()
	if st := s.job.Status; st.Succeeded != 1 || st.Failed != 0 || st.Summary != "Terminating" || len(s.pods) != 3 {
		t.Errorf("%+v, %d MiniPods", st, len(s.pods))
	}
	for _, pod := range s.pods {
		if s.tracked(pod) || pod.DeletionTimestamp != nil {
			t.Errorf("%s: %v, %v", pod.Name, pod.Finalizers, pod.DeletionTimestamp)
		}
	}
}

func TestTTL(t *testing.T) {
	s := newSim(t, 1, func(s *miniv1.MiniJobSpec) { ttl := int32(30); s.TTLSecondsAfterFinished = &ttl })
	s.settle()
	s.succeed(0)
	s.want("Complete 1/1 active=0 failed=0 CompletionsReached")
	if s.plan.Expired || s.plan.Wake != 30*time.Second {
		t.Errorf("looks again after %v", s.plan.Wake)
	}
	s.wait(30 * time.Second)
	if s.pass(); !s.plan.Expired {
		t.Error("is not deleted")
	}
}

// Ten thousand MiniPods: a pass is bounded, the status is small, and of what has ended not all is kept.
func TestLarge(t *testing.T) {
	const n = 10000
	s := newSim(t, 1, completions(n, 1000), backoffLimit(n))
	largest := 0
	for range 500 {
		s.pass()
		if len(s.plan.Create) > 500 || len(s.plan.Release) > 500 || len(s.plan.Trim) > 500 {
			t.Fatalf("creates %d, lets %d go, deletes %d", len(s.plan.Create), len(s.plan.Release), len(s.plan.Trim))
		}
		if u := s.plan.Status.UncountedTerminatedPods; u != nil {
			largest = max(largest, len(u.Succeeded)+len(u.Failed))
		}
		if jobplan.IsFinished(s.job) {
			break
		}
		for _, pod := range s.pods {
			if pod.Status.Phase == miniv1.PodPending && pod.DeletionTimestamp == nil {
				s.finish(pod, miniv1.PodSucceeded, 0)
			}
			if pod.DeletionTimestamp != nil {
				pod.Finalizers = nil
				s.collect(pod)
			}
		}
		s.wait(time.Second)
	}
	for range 20 {
		s.pass()
	}
	if got := s.brief(); got != "Complete 10000/10000 active=0 failed=0 CompletionsReached" {
		t.Error(got)
	}
	kept := 0
	for _, pod := range s.pods {
		if pod.DeletionTimestamp == nil {
			kept++
		}
	}
	if largest == 0 || largest > 500 || kept != jobplan.Keep {
		t.Errorf("%d UIDs in the status, %d MiniPods are kept", largest, kept)
	}
}

// A refused creation is told, and does not hide how far the MiniJob is.
func TestFailureIsTold(t *testing.T) {
	s := newSim(t, 1, completions(2, 2))
	o := jobplan.Observed{Job: s.job, Now: s.now}
	p := jobplan.Make(o)
	none := sets.New[types.UID]()
	for name, tc := range map[string]struct {
		failure conditions.Failure
		want    string
	}{
		"refused": {conditions.Failure{Reason: miniv1.ReasonFailedCreate, Message: "exceeded quota"}, "Reconciling"},
		"invalid": {conditions.Failure{Reason: miniv1.ReasonFailedCreate, Message: "invalid label", Final: true}, "Stalled"},
	} {
		st := p.After(o, jobplan.Done{Released: none, Deleted: none, Failure: tc.failure})
		if c := meta.FindStatusCondition(st.Conditions, tc.want); c == nil || c.Message != tc.failure.Message || st.Active != 0 || st.Summary != "Running" {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

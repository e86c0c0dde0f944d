package job_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

func TestCompletes(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 3, 2, func(s *miniv1.MiniJobSpec) { s.Template.Metadata.Labels = map[string]string{"app": "work"} })
	w.settle(j)
	w.want(j, "Running 0/3 active=2 failed=0")
	for _, pod := range w.pods() {
		for key, want := range map[string]string{"app": "work", batchv1.JobNameLabel: "work", "job-name": "work",
			batchv1.ControllerUidLabel: string(j.UID), "controller-uid": string(j.UID)} {
			if pod.Labels[key] != want {
				t.Errorf("label %s is %q, want %q", key, pod.Labels[key], want)
			}
		}
		if !metav1.IsControlledBy(pod, j) || !slices.Equal(pod.Finalizers, []string{miniv1.AgentFinalizer, miniv1.JobFinalizer}) ||
			!strings.HasPrefix(pod.Name, "work-") || len(pod.Name) != len("work-")+5 {
			t.Errorf("%s: owners %v, finalizers %v", pod.Name, pod.OwnerReferences, pod.Finalizers)
		}
	}
	if !strings.Contains(j.Status.Selector, string(j.UID)) || j.Status.ObservedGeneration != j.Generation || j.Status.StartTime == nil {
		t.Errorf("status %+v", j.Status)
	}
	for len(w.active()) > 0 {
		w.end(w.active()[0], 0)
		w.settle(j)
	}
	w.want(j, "Complete 3/3 active=0 failed=0")
	for _, pod := range w.pods() {
		if slices.Contains(pod.Finalizers, miniv1.JobFinalizer) {
			t.Errorf("%s is held", pod.Name)
		}
	}
	if condition(j, miniv1.ConditionReady).Status != metav1.ConditionTrue || condition(j, miniv1.ConditionReconciling).Status != "" || j.Status.CompletionTime == nil {
		t.Errorf("status %+v", j.Status)
	}
	w.wantEvents("Normal Completed Job completed")
}

func TestIndexed(t *testing.T) {
	w := newWorld(t)
	own := miniv1.EnvVar{Name: "JOB_COMPLETION_INDEX", Value: "mine"}
	j := w.job("pieces", 2, 2, indexed, func(s *miniv1.MiniJobSpec) {
		limit := int32(1)
		s.BackoffLimitPerIndex = &limit
		s.Template.Spec.InitContainers = []miniv1.Container{{Name: "init", Image: "echo:test"}}
		s.Template.Spec.Containers = append(s.Template.Spec.Containers, miniv1.Container{Name: "other", Image: "echo:test", Env: []miniv1.EnvVar{own}})
	})
	w.settle(j)
	seen := map[string]*miniv1.MiniPod{}
	for _, pod := range w.pods() {
		index := pod.Annotations[batchv1.JobCompletionIndexAnnotation]
		seen[index] = pod
		const field = "metadata.labels['batch.kubernetes.io/job-completion-index']"
		spec := &pod.Spec
		if pod.Labels[batchv1.JobCompletionIndexAnnotation] != index || spec.Hostname != "pieces-"+index || !strings.HasPrefix(pod.Name, "pieces-"+index+"-") ||
			spec.Containers[0].Env[0].ValueFrom.FieldRef.FieldPath != field || spec.InitContainers[0].Env[0].ValueFrom.FieldRef.FieldPath != field ||
			len(spec.Containers[1].Env) != 1 || spec.Containers[1].Env[0] != own || pod.Annotations[batchv1.JobIndexFailureCountAnnotation] != "0" {
			t.Errorf("index %s: %+v %+v", index, pod.ObjectMeta, spec)
		}
	}
	if len(seen) != 2 || seen["0"] == nil || seen["1"] == nil {
		t.Fatalf("indexes %v", seen)
	}
	w.end(seen["1"], 0)
	w.end(seen["0"], 1)
	w.settle(j)
	w.want(j, "Running 1/2 active=0 failed=0") // the failed one waits for its successor
	w.time = w.time.Add(time.Minute)
	w.settle(j)
	w.want(j, "Running 1/2 active=1 failed=1")
	if j.Status.CompletedIndexes != "1" {
		t.Errorf("completed %q", j.Status.CompletedIndexes)
	}
	w.end(w.active()[0], 1)
	w.settle(j)
	w.want(j, "Failed 1/2 active=0 failed=2")
	if *j.Status.FailedIndexes != "0" || condition(j, miniv1.ConditionFailed).Reason != miniv1.ReasonFailedIndexes ||
		condition(j, miniv1.ConditionStalled).Status != metav1.ConditionTrue {
		t.Errorf("status %+v", j.Status)
	}
	w.wantEvents("Warning FailedIndexes Job has failed indexes")
}

func TestSuspendAndResume(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 3, 2)
	w.settle(j)
	for _, pod := range w.pods() {
		w.run(pod)
	}
	w.patch(j, `{"spec":{"suspend":true}}`)
	w.settle(j)
	w.want(j, "Suspended 0/3 active=0 failed=0")
	if left := len(w.pods()); left != 0 || j.Status.StartTime != nil {
		t.Errorf("%d MiniPods, started %v", left, j.Status.StartTime)
	}
	w.patch(j, `{"spec":{"template":{"spec":{"nodeSelector":{"disk":"fast"}}}}}`)
	w.patch(j, `{"spec":{"suspend":false}}`)
	w.time = w.time.Add(time.Hour)
	w.settle(j)
	w.want(j, "Running 0/3 active=2 failed=0")
	if !j.Status.StartTime.Time.Equal(w.time) || w.pods()[0].Spec.NodeSelector["disk"] != "fast" {
		t.Errorf("started %v, %v", j.Status.StartTime, w.pods()[0].Spec.NodeSelector)
	}
	w.wantEvents("Normal Suspended Job suspended", "Normal Resumed Job resumed")
}

func TestBackoffLimitExceeded(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 3, 2, func(s *miniv1.MiniJobSpec) { limit := int32(0); s.BackoffLimit = &limit })
	w.settle(j)
	w.run(w.pods()[1])
	w.end(w.pods()[0], 1)
	for range 2 {
		_, err := w.pass(j)
		w.must(err)
	}
	w.want(j, "FailureTarget 0/3 active=0 failed=2") // it is not over while something of it may run
	if *j.Status.Terminating != 1 {
		t.Errorf("%d terminating", *j.Status.Terminating)
	}
	w.settle(j)
	w.want(j, "Failed 0/3 active=0 failed=2")
	w.wantEvents("Warning BackoffLimitExceeded Job has reached the specified backoff limit")
	w.settle(j)
	w.wantEvents()
}

// A MiniPod that is evicted is replaced, and does not count, where the policy says so.
func TestDisruption(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 2, 1, func(s *miniv1.MiniJobSpec) {
		limit := int32(0)
		s.BackoffLimit = &limit
		s.PodFailurePolicy = &miniv1.PodFailurePolicy{Rules: []miniv1.PodFailurePolicyRule{{Action: batchv1.PodFailurePolicyActionIgnore,
			OnPodConditions: []miniv1.PodFailurePolicyOnPodCondition{{Type: miniv1.ConditionDisruptionTarget, Status: corev1.ConditionTrue}}}}}
	})
	w.settle(j)
	pod := w.pods()[0]
	w.run(pod)
	before := pod.DeepCopy()
	meta.SetStatusCondition(&pod.Status.Conditions, metav1.Condition{Type: miniv1.ConditionDisruptionTarget, Status: metav1.ConditionTrue, Reason: miniv1.ReasonDeletionByDrain})
	w.must(w.Status().Patch(t.Context(), pod, client.MergeFrom(before)))
	w.must(w.Delete(t.Context(), pod))
	_, err := w.pass(j)
	w.must(err)
	w.want(j, "Running 0/2 active=0 failed=0")
	w.bury()
	w.time = w.time.Add(time.Hour)
	w.settle(j)
	w.want(j, "Running 0/2 active=1 failed=0")
	if len(w.pods()) != 1 || w.pods()[0].UID == pod.UID {
		t.Errorf("%d MiniPods", len(w.pods()))
	}
}

func TestExpires(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 1, 1, func(s *miniv1.MiniJobSpec) { ttl := int32(60); s.TTLSecondsAfterFinished = &ttl })
	w.settle(j)
	w.end(w.pods()[0], 0)
	w.settle(j)
	w.want(j, "Complete 1/1 active=0 failed=0")
	result, err := w.pass(j)
	w.must(err)
	if result.RequeueAfter != time.Minute {
		t.Errorf("looks again after %v", result.RequeueAfter)
	}
	w.time = w.time.Add(time.Minute)
	_, err = w.pass(j)
	w.must(err)
	if w.read(j); j.DeletionTimestamp == nil || !slices.Equal(j.Finalizers, []string{"foregroundDeletion"}) {
		t.Errorf("is not deleted, after its MiniPods: %v, %v", j.DeletionTimestamp, j.Finalizers)
	}
}

func TestManagedBySomebodyElse(t *testing.T) {
	w := newWorld(t)
	for by, n := range map[string]int{"example.com/queue": 0, "kubernetes.io/job-controller": 1, "miniplane.dev/job-controller": 2} {
		j := w.job(strings.Map(func(r rune) rune {
			if r == '/' || r == '.' {
				return '-'
			}
			return r
		}, by), 1, 1, func(s *miniv1.MiniJobSpec) { s.ManagedBy = &by })
		w.settle(j)
		if made := len(w.pods()); made != min(n, 1) {
			t.Errorf("managed by %s: %d MiniPods", by, made)
		}
		w.must(w.DeleteAllOf(t.Context(), &miniv1.MiniPod{}, client.InNamespace(w.namespace)))
		w.free()
	}
}

// free takes all finalizers off, as if miniplane were gone.
func (w *world) free() {
	w.Helper()
	for _, pod := range w.pods() {
		w.must(client.IgnoreNotFound(w.Patch(w.Context(), pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
	}
}

// With a selector of its own a MiniJob takes what matches and belongs to nobody, and it counts from then on.
func TestManualSelector(t *testing.T) {
	w := newWorld(t)
	loose := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "loose", Labels: map[string]string{"app": "work"}}}
	loose.Spec.Containers = []miniv1.Container{{Name: "main", Image: "echo:test"}}
	loose.Spec.RestartPolicy = corev1.RestartPolicyNever
	w.must(w.Create(t.Context(), loose))
	yes := true
	j := w.job("work", 2, 2, func(s *miniv1.MiniJobSpec) {
		s.ManualSelector, s.Selector = &yes, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "work"}}
		s.Template.Metadata.Labels = map[string]string{"app": "work"}
	})
	w.settle(j)
	w.want(j, "Running 0/2 active=2 failed=0")
	if w.read(loose); !metav1.IsControlledBy(loose, j) || !slices.Equal(loose.Finalizers, []string{miniv1.JobFinalizer}) || len(w.pods()) != 2 {
		t.Fatalf("not adopted: %v, %v, %d MiniPods", loose.OwnerReferences, loose.Finalizers, len(w.pods()))
	}
	// Taken out for a closer look, it is nobody's, and replaced.
	w.patch(loose, `{"metadata":{"labels":{"app":"debug"}}}`)
	w.settle(j)
	if w.read(loose); len(loose.OwnerReferences)+len(loose.Finalizers) != 0 || len(w.pods()) != 3 {
		t.Errorf("not given up: %v, %v, %d MiniPods", loose.OwnerReferences, loose.Finalizers, len(w.pods()))
	}
	w.want(j, "Running 0/2 active=2 failed=0")
}

// A refusal by a native ResourceQuota is shown in the API server's words, told once, and over when there is room.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	hard := corev1.ResourceList{"count/minipods.miniplane.dev": resource.MustParse("0")}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	w.must(w.Create(t.Context(), quota))
	quota.Status.Hard, quota.Status.Used = hard, hard
	w.must(w.Status().Update(t.Context(), quota))
	testenv.Eventually(t, func() string {
		probe := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "probe-"}}
		probe.Spec.Containers = []miniv1.Container{{Name: "main", Image: "echo:test"}}
		if w.Create(t.Context(), probe, client.DryRunAll) == nil {
			return "not refused yet"
		}
		return ""
	})
	j := w.job("work", 5, 5)
	for range 2 {
		if _, err := w.pass(j); !apierrors.IsForbidden(err) {
			t.Fatalf("got %v, want the refusal, so that it is tried again", err)
		}
	}
	w.want(j, "Running 0/5 active=0 failed=0")
	if c := condition(j, miniv1.ConditionReconciling); c.Reason != miniv1.ReasonFailedCreate || !strings.Contains(c.Message, "exceeded quota: none") {
		t.Errorf("Reconciling is %+v", c)
	}
	if n := len(w.events.Events); n != 1 {
		t.Errorf("%d Events for one failure", n)
	}
	w.must(w.Delete(t.Context(), quota))
	testenv.Eventually(t, func() string {
		if _, err := w.pass(j); err != nil {
			return err.Error()
		}
		return ""
	})
	w.settle(j)
	w.want(j, "Running 0/5 active=5 failed=0")
	if c := condition(j, miniv1.ConditionReconciling); c.Reason != miniv1.ReasonInProgress {
		t.Errorf("Reconciling is %+v", c)
	}
}

// A MiniJob that is gone holds nothing, and neither does one that is going, whose MiniPods stay.
func TestOrphans(t *testing.T) {
	w := newWorld(t)
	j := w.job("work", 3, 3)
	w.settle(j)
	orphan := func(pod *miniv1.MiniPod) []string {
		t.Helper()
		_, err := w.reconciler.Orphan(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(pod)})
		w.must(err)
		w.read(pod)
		return pod.Finalizers
	}
	pods := w.pods()
	if got := orphan(pods[0]); !slices.Contains(got, miniv1.JobFinalizer) {
		t.Errorf("its MiniJob is there, and it holds %v", got)
	}
	w.patch(pods[1], `{"metadata":{"ownerReferences":null}}`)
	if got := orphan(pods[1]); slices.Contains(got, miniv1.JobFinalizer) {
		t.Errorf("it belongs to nobody, and holds %v", got)
	}
	w.must(w.Delete(t.Context(), j, client.PropagationPolicy(metav1.DeletePropagationOrphan)))
	w.settle(j)
	for _, pod := range w.pods() {
		if pod.UID != pods[1].UID && (slices.Contains(pod.Finalizers, miniv1.JobFinalizer) || pod.DeletionTimestamp != nil) {
			t.Errorf("%s holds %v, deleted %v", pod.Name, pod.Finalizers, pod.DeletionTimestamp)
		}
	}
	other := w.job("gone", 1, 1)
	w.settle(other)
	var left *miniv1.MiniPod
	for _, pod := range w.pods() {
		if metav1.IsControlledBy(pod, other) {
			left = pod
		}
	}
	w.must(w.Delete(t.Context(), other, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	if _, err := w.pass(other); err != nil {
		t.Fatal(err)
	}
	if got := orphan(left); !slices.Equal(got, []string{miniv1.AgentFinalizer}) {
		t.Errorf("its MiniJob is gone, and it holds %v", got)
	}
}

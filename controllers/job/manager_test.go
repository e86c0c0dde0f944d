package job_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/job"
	"miniplane.dev/miniplane/test/testenv"
)

// With the real cache and watches: many short MiniPods, some of which fail, of two kinds of MiniJob at once; and what is left of one that
// is gone.
func TestManager(t *testing.T) {
	w := newWorld(t)
	testenv.StartManager(t, func(mgr ctrl.Manager) error { return job.Setup(mgr, job.Options{}) })
	const n = 60
	limit := int32(n)
	jobs := []*miniv1.MiniJob{
		w.job("plain", n, 20, func(s *miniv1.MiniJobSpec) { s.BackoffLimit = &limit }),
		w.job("pieces", n, 20, indexed, func(s *miniv1.MiniJobSpec) { s.BackoffLimit = &limit }),
	}
	start := time.Now()
	seen := map[string]bool{}
	failures := map[string]int32{}
	testenv.Eventually(t, func() string {
		for _, pod := range w.active() {
			owner := pod.OwnerReferences[0].Name
			if seen[pod.Name] {
				continue
			}
			seen[pod.Name] = true
			code := int32(0)
			// Failures come early, and successes follow, so that there is no pause.
			if len(seen) < n && len(seen)%10 == 3 {
				code = 1
				failures[owner]++
			}
			w.end(pod, code)
		}
		for _, j := range jobs {
			if w.read(j); j.Status.Summary != miniv1.ConditionComplete {
				return fmt.Sprintf("%s: %+v", j.Name, j.Status)
			}
		}
		return ""
	})
	t.Logf("%d MiniPods in %v", len(seen), time.Since(start))
	for _, j := range jobs {
		if j.Status.Succeeded != n || j.Status.Failed != failures[j.Name] || j.Status.UncountedTerminatedPods != nil {
			t.Errorf("%s: %+v, %d failed", j.Name, j.Status, failures[j.Name])
		}
	}
	if got := jobs[1].Status.CompletedIndexes; got != fmt.Sprintf("0-%d", n-1) {
		t.Errorf("completed %s", got)
	}

	gone := w.job("gone", 3, 3)
	of := client.MatchingLabels{batchv1.JobNameLabel: "gone"}
	held := func() (n int) {
		list := &miniv1.MiniPodList{}
		w.must(w.List(t.Context(), list, client.InNamespace(w.namespace), of))
		for i := range list.Items {
			if slices.Contains(list.Items[i].Finalizers, miniv1.JobFinalizer) {
				n++
			}
		}
		return n
	}
	await := func(want int) {
		t.Helper()
		testenv.Eventually(t, func() string {
			if got := held(); got != want {
				return fmt.Sprintf("%d MiniPods are held, want %d", got, want)
			}
			return ""
		})
	}
	await(3)
	w.must(w.Delete(t.Context(), gone, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	await(0)
}

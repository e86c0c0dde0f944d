package jobplan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jobplan"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/test/builders"
)

var t0 = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// sim is an API server that holds one MiniJob and its MiniPods, an agent, and a manager that carries out plans and may die at any
// write.
type sim struct {
	testing.TB
	rand    *rand.Rand
	job     *miniv1.MiniJob
	pods    map[types.UID]*miniv1.MiniPod
	backoff *jobplan.Backoff
	now     time.Time
	made    int
	// writes are left before the manager dies; negative means that it lives.
	writes int
	// ended and lost are the MiniPods that ended well, and failed, while they had the finalizer.
	ended, lost sets.Set[types.UID]
	// fails tells whether a MiniPod that ends fails.
	fails func(*miniv1.MiniPod) bool
	plan  jobplan.Plan
}

func newSim(t testing.TB, seed uint64, edit ...func(*miniv1.MiniJobSpec)) *sim {
	s := &sim{TB: t, rand: rand.New(rand.NewPCG(seed, 1)), now: t0, pods: map[types.UID]*miniv1.MiniPod{}, writes: -1,
		ended: sets.New[types.UID](), lost: sets.New[types.UID](), fails: func(*miniv1.MiniPod) bool { return false }}
	s.job = &miniv1.MiniJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "job", UID: "job", Generation: 1, CreationTimestamp: metav1.NewTime(t0)}}
	s.job.Spec.CompletionMode = batchv1.NonIndexedCompletion
	s.job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	for _, e := range edit {
		e(&s.job.Spec)
	}
	return s
}

func completions(n, parallelism int32) func(*miniv1.MiniJobSpec) {
	return func(s *miniv1.MiniJobSpec) { s.Completions, s.Parallelism = &n, &parallelism }
}

func indexed(s *miniv1.MiniJobSpec) { s.CompletionMode = batchv1.IndexedCompletion }

func perIndex(limit int32) func(*miniv1.MiniJobSpec) {
	return func(s *miniv1.MiniJobSpec) { s.BackoffLimitPerIndex = &limit }
}

func backoffLimit(limit int32) func(*miniv1.MiniJobSpec) {
	return func(s *miniv1.MiniJobSpec) { s.BackoffLimit = &limit }
}

// write is one request; false when the manager dies before it.
func (s *sim) write() bool {
	if s.writes == 0 {
		return false
	}
	s.writes--
	return true
}

// pass is one of the manager's, which may die on the way. It reports whether it lived.
func (s *sim) pass() bool {
	var list []*miniv1.MiniPod
	for _, uid := range slices.Sorted(keys(s.pods)) {
		list = append(list, s.pods[uid].DeepCopy())
	}
	o := jobplan.Observed{Job: s.job.DeepCopy(), Pods: list, Backoff: s.backoff, Now: s.now}
	p := jobplan.Make(o)
	s.plan = p
	done := jobplan.Done{Released: sets.New[types.UID](), Deleted: sets.New[types.UID]()}
	if p.First {
		if !s.write() {
			return false
		}
		s.job.Status = *p.Status.DeepCopy()
		s.backoff = &p.Backoff
	}
	del := func(pod *miniv1.MiniPod) bool {
		if !s.write() {
			return false
		}
		s.delete(pod.UID)
		done.Deleted.Insert(pod.UID)
		return true
	}
	for _, pod := range p.End {
		if !del(pod) {
			return false
		}
	}
	for _, pod := range p.Release {
		if !s.write() {
			return false
		}
		s.release(pod.UID)
		done.Released.Insert(pod.UID)
	}
	for _, pod := range p.Drop {
		if slices.Contains(pod.Finalizers, miniv1.JobFinalizer) {
			if !s.write() {
				return false
			}
			s.release(pod.UID)
			done.Released.Insert(pod.UID)
		}
		if !del(pod) {
			return false
		}
	}
	for _, c := range p.Create {
		if !s.write() {
			return false
		}
		s.create(c)
		done.Created++
	}
	for _, pod := range p.Trim {
		if !del(pod) {
			return false
		}
	}
	if !s.write() {
		return false
	}
	s.job.Status = p.After(o, done)
	return true
}

func keys(m map[types.UID]*miniv1.MiniPod) func(func(types.UID) bool) {
	return func(yield func(types.UID) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (s *sim) create(c jobplan.Creation) *miniv1.MiniPod {
	s.made++
	pod := builders.Pod("ns", fmt.Sprintf("p%05d", s.made)).Node("n").Obj()
	pod.CreationTimestamp = metav1.NewTime(s.now)
	pod.Finalizers = []string{miniv1.AgentFinalizer, miniv1.JobFinalizer}
	pod.Annotations = map[string]string{}
	if c.Index >= 0 {
		pod.Annotations[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(c.Index)
	}
	if c.PerIndex {
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(c.Failures)
		pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(c.Ignored)
	}
	s.pods[pod.UID] = pod
	return pod
}

func (s *sim) tracked(pod *miniv1.MiniPod) bool {
	return slices.Contains(pod.Finalizers, miniv1.JobFinalizer)
}

func (s *sim) delete(uid types.UID) {
	if pod := s.pods[uid]; pod != nil && pod.DeletionTimestamp == nil {
		t := metav1.NewTime(s.now)
		pod.DeletionTimestamp = &t
		s.collect(pod)
	}
}

func (s *sim) release(uid types.UID) {
	if pod := s.pods[uid]; pod != nil {
		pod.Finalizers = slices.DeleteFunc(pod.Finalizers, func(f string) bool { return f == miniv1.JobFinalizer })
		s.collect(pod)
	}
}

// collect removes what is deleted and held by nobody.
func (s *sim) collect(pod *miniv1.MiniPod) {
	if pod.DeletionTimestamp != nil && len(pod.Finalizers) == 0 {
		delete(s.pods, pod.UID)
	}
}

// finish has a MiniPod end.
func (s *sim) finish(pod *miniv1.MiniPod, phase miniv1.MiniPodPhase, code int32) {
	pod.Status.Phase = phase
	pod.Status.ContainerStatuses = []miniv1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, FinishedAt: metav1.NewTime(s.now)}}}}
	if !s.tracked(pod) {
		return
	}
	if phase == miniv1.PodSucceeded {
		s.ended.Insert(pod.UID)
	} else {
		s.lost.Insert(pod.UID)
	}
}

// agents lets some MiniPods end, and those that are being deleted go.
func (s *sim) agents() {
	for _, uid := range slices.Sorted(keys(s.pods)) {
		pod := s.pods[uid]
		switch {
		case pod.DeletionTimestamp != nil && slices.Contains(pod.Finalizers, miniv1.AgentFinalizer):
			if s.rand.IntN(2) == 0 {
				pod.Finalizers = slices.DeleteFunc(pod.Finalizers, func(f string) bool { return f == miniv1.AgentFinalizer })
				s.collect(pod)
			}
		case podstate.IsActive(pod) && s.rand.IntN(2) == 0:
			if s.fails(pod) {
				s.finish(pod, miniv1.PodFailed, 1)
			} else {
				s.finish(pod, miniv1.PodSucceeded, 0)
			}
		}
	}
}

// check tells what must hold at any time.
func (s *sim) check() {
	s.Helper()
	st := &s.job.Status
	u := st.UncountedTerminatedPods
	if u == nil {
		u = &miniv1.UncountedTerminatedPods{}
	}
	if n := len(sets.New(slices.Concat(u.Succeeded, u.Failed)...)); n != len(u.Succeeded)+len(u.Failed) {
		s.Fatalf("a MiniPod is written down twice: %+v", u)
	}
	if jobplan.IsFinished(s.job) && len(u.Succeeded)+len(u.Failed) > 0 {
		s.Fatalf("finished, and not all is counted: %+v", st)
	}
	if got := int(st.Succeeded) + len(u.Succeeded); got > s.ended.Len() {
		s.Fatalf("%d succeeded, of %d that did", got, s.ended.Len())
	}
}

// run lets the manager and the agents move until the MiniJob is finished. The manager dies at random when dying.
func (s *sim) run(dying bool) {
	s.Helper()
	for range 3000 {
		s.writes = -1
		if dying && s.rand.IntN(3) > 0 {
			s.writes = s.rand.IntN(6)
		}
		if !s.pass() {
			s.backoff = nil // it remembers nothing
		}
		s.check()
		if jobplan.IsFinished(s.job) {
			return
		}
		s.agents()
		s.now = s.now.Add(time.Duration(1+s.rand.IntN(400)) * time.Second)
	}
	s.Fatalf("does not end: %+v", s.job.Status)
}

// However often the manager dies, every MiniPod counts once.
func TestCountsAreExact(t *testing.T) {
	for seed := range uint64(150) {
		for _, dying := range []bool{false, true} {
			for name, edit := range map[string][]func(*miniv1.MiniJobSpec){
				"plain":     {completions(12, 5), backoffLimit(1000)},
				"late":      {completions(12, 5), backoffLimit(1000), late},
				"indexed":   {completions(12, 5), backoffLimit(1000), indexed},
				"per index": {completions(12, 5), indexed, perIndex(50)},
			} {
				t.Run(fmt.Sprintf("%s/%d/%t", name, seed, dying), func(t *testing.T) {
					s := newSim(t, seed, edit...)
					s.fails = func(*miniv1.MiniPod) bool { return s.rand.IntN(3) == 0 }
					s.run(dying)
					st := s.job.Status
					if st.Succeeded != 12 || s.ended.Len() != 12 || int(st.Failed) != s.lost.Len() {
						t.Errorf("%d succeeded, %d did; %d failed, %d did", st.Succeeded, s.ended.Len(), st.Failed, s.lost.Len())
					}
					s.wantOver(miniv1.ConditionComplete)
				})
			}
		}
	}
}

func late(s *miniv1.MiniJobSpec) {
	policy := batchv1.Failed
	s.PodReplacementPolicy = &policy
}

// wantOver checks a MiniJob that is finished: nothing of it is held or runs.
func (s *sim) wantOver(kind string) {
	s.Helper()
	for _, c := range s.job.Status.Conditions {
		if c.Type == kind && c.Status != metav1.ConditionTrue {
			s.Errorf("%s is %s", kind, c.Status)
		}
	}
	for _, pod := range s.pods {
		if s.tracked(pod) || podstate.IsActive(pod) {
			s.Errorf("%s is left: %v, %s", pod.Name, pod.Finalizers, pod.Status.Phase)
		}
	}
	if s.job.Status.Summary != kind || s.job.Status.Active != 0 {
		s.Errorf("status %+v, want %s", s.job.Status, kind)
	}
}

// A MiniJob that fails counts each of its MiniPods as failed or succeeded, once.
func TestFailureIsExact(t *testing.T) {
	for seed := range uint64(150) {
		for name, edit := range map[string][]func(*miniv1.MiniJobSpec){
			"plain":     {completions(12, 5), backoffLimit(4)},
			"indexed":   {completions(12, 5), backoffLimit(4), indexed},
			"per index": {completions(12, 5), indexed, perIndex(1)},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				s := newSim(t, seed, edit...)
				s.fails = func(*miniv1.MiniPod) bool { return s.rand.IntN(2) == 0 }
				s.run(seed%2 == 0)
				if is := jobplan.IsFinished(s.job); !is || s.job.Status.Summary != miniv1.ConditionFailed {
					t.Skip("it did not fail this time")
				}
				s.wantOver(miniv1.ConditionFailed)
				if got, want := int(s.job.Status.Succeeded+s.job.Status.Failed), s.made; got != want {
					t.Errorf("%d counted, %d were made", got, want)
				}
			})
		}
	}
}

// An index is tried as often as it may be, and no more, however often the manager dies.
func TestTriesPerIndex(t *testing.T) {
	const limit = 2
	for seed := range uint64(150) {
		s := newSim(t, seed, completions(4, 3), indexed, perIndex(limit))
		broken := strconv.Itoa(int(seed % 4))
		s.fails = func(pod *miniv1.MiniPod) bool { return pod.Annotations[batchv1.JobCompletionIndexAnnotation] == broken }
		s.run(seed%2 == 0)
		st := s.job.Status
		if int(st.Failed) != limit+1 || st.Succeeded != 3 || st.FailedIndexes == nil || *st.FailedIndexes != broken || s.made != 3+limit+1 {
			t.Errorf("seed %d: index %s was tried %d times, of %d MiniPods: %+v", seed, broken, st.Failed, s.made, st)
		}
		s.wantOver(miniv1.ConditionFailed)
	}
}

// People scale, suspend and resume, and delete MiniPods, and the manager dies: every MiniPod that ended, or was deleted by somebody, counts
// once, and what was dropped does not.
func TestAnythingMayHappen(t *testing.T) {
	for seed := range uint64(200) {
		for name, edit := range map[string][]func(*miniv1.MiniJobSpec){
			"plain":     {completions(15, 5), backoffLimit(100000)},
			"late":      {completions(15, 5), backoffLimit(100000), late},
			"indexed":   {completions(15, 5), backoffLimit(100000), indexed},
			"per index": {completions(15, 5), indexed, perIndex(10000)},
		} {
			s := newSim(t, seed, edit...)
			s.fails = func(*miniv1.MiniPod) bool { return s.rand.IntN(4) == 0 }
			for i := 0; !jobplan.IsFinished(s.job); i++ {
				if i > 3000 {
					t.Fatalf("%s, seed %d: does not end: %+v", name, seed, s.job.Status)
				}
				s.writes = -1
				if s.rand.IntN(2) == 0 {
					s.writes = s.rand.IntN(8)
				}
				if !s.pass() {
					s.backoff = nil
				}
				s.check()
				s.meddle(i)
				s.agents()
				s.now = s.now.Add(time.Duration(1+s.rand.IntN(400)) * time.Second)
			}
			st := s.job.Status
			if st.Succeeded != 15 || s.ended.Len() != 15 || int(st.Failed) != s.lost.Len() || st.Summary != miniv1.ConditionComplete {
				t.Errorf("%s, seed %d: %d succeeded, %d did; %d failed, %d did: %s", name, seed, st.Succeeded, s.ended.Len(), st.Failed, s.lost.Len(), st.Summary)
			}
			s.wantOver(miniv1.ConditionComplete)
		}
	}
}

// meddle is what people do now and then, and less and less.
func (s *sim) meddle(i int) {
	suspended := i < 100 && s.rand.IntN(8) == 0
	s.job.Spec.Suspend = &suspended
	if s.rand.IntN(4) == 0 {
		*s.job.Spec.Parallelism = int32(s.rand.IntN(8))
	}
	if i > 100 {
		*s.job.Spec.Parallelism = 4
	}
	if i > 60 || s.rand.IntN(5) > 0 {
		return
	}
	for _, uid := range slices.Sorted(keys(s.pods)) {
		if pod := s.pods[uid]; podstate.IsActive(pod) && s.rand.IntN(3) == 0 {
			if s.tracked(pod) {
				s.lost.Insert(uid)
			}
			s.delete(uid)
		}
	}
}

package scheduling

import (
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/queue"
)

// What wakes MiniPods that look at others. They are asked by what they look at, not whether there is a node for them by now: that may be any.

// distinguish has those that wait told apart by the labels that a MiniPod keeps others away by, before it is there.
func (s *Scheduler) distinguish(pod *framework.Pod) {
	if pod.Around != nil && len(pod.Around.Excludes) > 0 {
		s.queue.Distinguish(pod.Around.Excludes)
	}
}

// othersChanged wakes those that look at a MiniPod that went, or at one that came; nil is none. One that is something else now went and came.
func (s *Scheduler) othersChanged(went, came *framework.Pod) {
	if !s.cache.Counts() || !s.queue.Listens() {
		return
	}
	s.queue.Wake(queue.Event{Helps: func(pod *framework.Pod, wait queue.Wait) bool {
		return wait.Is(queue.ForNode) && (went != nil && pod.MayReplace(went) || came != nil && pod.MayFollow(came))
	}})
}

// placesChanged wakes those that look at others, since a node came, went, or has other labels or taints: what is on it is somewhere else now.
func (s *Scheduler) placesChanged() {
	s.queue.Wake(queue.Event{Helps: func(pod *framework.Pod, wait queue.Wait) bool {
		return wait.Is(queue.ForNode) && s.cache.Concerned(pod)
	}})
}

// relabelled wakes those to whom other labels of a namespace can matter.
func (s *Scheduler) relabelled(namespace string) {
	if !s.cache.Counts() {
		return
	}
	s.queue.Wake(queue.Event{Helps: func(pod *framework.Pod, wait queue.Wait) bool {
		return wait.Is(queue.ForNode) && (pod.Around.LooksFar() || pod.Namespace == namespace && s.cache.Far())
	}})
}

package scheduling

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/queue"
)

// handler calls seen for every version of an object, and gone when it is deleted.
func handler[T client.Object](seen, gone func(T)) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { seen(o.(T)) },
		UpdateFunc: func(_, o any) { seen(o.(T)) },
		DeleteFunc: func(o any) { gone(lastKnown(o).(T)) },
	}
}

// lastKnown is the deleted object, also where the informer missed its end.
func lastKnown(o any) any {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		return unknown.Obj
	}
	return o
}

func (s *Scheduler) podAdded(o any) { s.podSeen(o.(*miniv1.MiniPod)) }

func (s *Scheduler) podUpdated(o, n any) {
	before, now := o.(*miniv1.MiniPod), n.(*miniv1.MiniPod)
	if before.UID != now.UID {
		s.podGone(before)
	} else if bothCharged(before, now) {
		return // the agent reports; nothing of that is about room
	} else if podsecurity.Digest(before) != podsecurity.Digest(now) || !maps.Equal(before.Labels, now.Labels) {
		// Annotations can change what the level says of it, and labels what others mean for it: it is another case now, or will be if its binding fails.
		if s.holds(now.UID) {
			s.queue.Renew(framework.NewPod(now))
		} else {
			s.queue.Delete(now.UID)
		}
	}
	s.podSeen(now)
}

func (s *Scheduler) podDeleted(o any) { s.podGone(lastKnown(o).(*miniv1.MiniPod)) }

// bothCharged tells whether a MiniPod was charged before and is charged the same now.
func bothCharged(before, now *miniv1.MiniPod) bool {
	return podstate.HoldsRoom(before) && podstate.HoldsRoom(now) && podstate.HoldsQuota(before) == podstate.HoldsQuota(now) &&
		before.Generation == now.Generation && maps.Equal(before.Labels, now.Labels) && podstate.IsDeleting(before) == podstate.IsDeleting(now)
}

// podSeen takes up what the API says of a MiniPod.
func (s *Scheduler) podSeen(pod *miniv1.MiniPod) {
	switch {
	case podstate.HoldsRoom(pod):
		s.podBound(pod)
	case podstate.IsBound(pod) || podstate.IsFinished(pod):
		s.podGone(pod)
	case s.holds(pod.UID):
		// Old news: the binding is known, or being written, and whoever writes it looks again when it fails.
	case podstate.IsDeleting(pod):
		s.queue.Delete(pod.UID)
		if controllerutil.ContainsFinalizer(pod, miniv1.AgentFinalizer) {
			s.orphans.Add(client.ObjectKeyFromObject(pod))
		}
	default:
		s.queue.Add(framework.NewPod(pod))
	}
}

func (s *Scheduler) podBound(pod *miniv1.MiniPod) {
	p := framework.NewPod(pod)
	discharged := false
	s.distinguish(p)
	s.charging.Lock()
	before, same := s.cache.Bind(p, pod.Status.NodeName)
	if podstate.HoldsQuota(pod) {
		s.ledger.Charge(p.UID, p.Namespace, p.Charge.Usage)
	} else {
		discharged = s.ledger.Release(p.UID)
	}
	s.charging.Unlock()
	s.queue.Delete(p.UID)
	if discharged {
		s.quotaChanged(p.Namespace)
	}
	if !same {
		s.othersChanged(before, p)
	}
}

// podGone releases what the MiniPod held: it is gone, or has ended for good.
func (s *Scheduler) podGone(pod *miniv1.MiniPod) {
	s.queue.Delete(pod.UID)
	s.release(pod.UID, pod.Namespace)
}

// release frees room and quota of a MiniPod and tells those who wait for it.
func (s *Scheduler) release(uid types.UID, namespace string) {
	s.charging.Lock()
	pod := s.cache.Pod(uid)
	node := s.cache.Remove(uid)
	charged := s.ledger.Release(uid)
	s.charging.Unlock()
	if node != "" {
		s.nodeChanged(node)
		s.othersChanged(pod, nil)
	}
	if charged {
		s.quotaChanged(namespace)
	}
}

func (s *Scheduler) holds(uid types.UID) bool { _, ok := s.cache.Holds(uid); return ok }

func (s *Scheduler) miniNodeSeen(node *miniv1.MiniNode) {
	changed, moved := s.cache.SetMiniNode(node.Name, node)
	s.nodeSeen(node.Name, changed, moved)
}

func (s *Scheduler) miniNodeGone(node *miniv1.MiniNode) {
	_, moved := s.cache.SetMiniNode(node.Name, nil)
	s.nodeSeen(node.Name, false, moved)
}

func (s *Scheduler) coreNodeSeen(node *corev1.Node) {
	changed, moved := s.cache.SetCoreNode(node.Name, node)
	s.nodeSeen(node.Name, changed, moved)
}

func (s *Scheduler) coreNodeGone(node *corev1.Node) {
	_, moved := s.cache.SetCoreNode(node.Name, nil)
	s.nodeSeen(node.Name, false, moved)
}

// nodeSeen wakes those whom it may help that a node is not what it was.
func (s *Scheduler) nodeSeen(name string, changed, moved bool) {
	if changed {
		s.nodeChanged(name)
	}
	if moved {
		s.placesChanged()
	}
}

func (s *Scheduler) quotaSeen(q *miniv1.MiniQuota) {
	if s.ledger.SetQuota(q.Namespace, q.Name, q.Spec.Hard) {
		s.quotaChanged(q.Namespace)
	}
}

func (s *Scheduler) quotaGone(q *miniv1.MiniQuota) {
	s.ledger.DeleteQuota(q.Namespace, q.Name)
	s.quotaChanged(q.Namespace)
}

// nodeChanged wakes those who would pass the filters of the node as it is now, but for those whom other MiniPods keep from it. Who does was found out when
// they were tried: what happens about those others since then wakes them, and to count anew with every MiniPod that ends would cost more than to try.
func (s *Scheduler) nodeChanged(name string) {
	if !s.queue.Listens() {
		return
	}
	node, slot, ok := s.cache.Node(name)
	if !ok {
		return
	}
	s.queue.Wake(queue.Event{Helps: func(pod *framework.Pod, wait queue.Wait) bool {
		return wait.Is(queue.ForNode) && !wait.Keeps(slot) && s.profile.Filter(pod, &node).Code == framework.Fits
	}})
}

// quotaChanged wakes those of the namespace that its quotas would admit now.
func (s *Scheduler) quotaChanged(namespace string) {
	s.queue.Wake(queue.Event{Helps: func(pod *framework.Pod, wait queue.Wait) bool {
		return wait.Is(queue.ForQuota) && pod.Namespace == namespace && s.ledger.Check(namespace, &pod.Charge) == nil
	}})
}

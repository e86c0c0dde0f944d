package scheduling

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/queue"
)

// namespaceKind is what is watched of namespaces: names and labels.
func namespaceKind() *metav1.PartialObjectMetadata {
	kind := &metav1.PartialObjectMetadata{}
	kind.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return kind
}

func (s *Scheduler) namespaceSeen(ns *metav1.PartialObjectMetadata) {
	if s.cache.SetNamespace(ns.Name, ns.Labels) {
		s.relabelled(ns.Name)
	}
	if s.namespaces.Set(ns.Name, ns.Labels) {
		s.namespaceChanged(ns.Name)
	}
}

func (s *Scheduler) namespaceGone(ns *metav1.PartialObjectMetadata) {
	s.namespaces.Delete(ns.Name)
	s.cache.SetNamespace(ns.Name, nil)
}

// namespaceChanged wakes those of the namespace that its Pod Security level would admit now.
func (s *Scheduler) namespaceChanged(name string) {
	s.queue.Wake(queue.Event{Helps: func(pod *framework.Pod, wait queue.Wait) bool {
		return wait.Is(queue.ForNamespace) && pod.Namespace == name && s.refusal(pod) == nil
	}})
}

// refusal tells why the MiniPod may not run in its namespace; nil if it may. Only where a level can be violated is the MiniPod
// itself looked at, as the cache has it.
func (s *Scheduler) refusal(pod *framework.Pod) *podsecurity.Refusal {
	policy, known := s.namespaces.Policy(pod.Namespace)
	if !known {
		return podsecurity.Unknown(pod.Namespace)
	}
	if policy.AllowsAll() {
		return nil
	}
	obj := &miniv1.MiniPod{}
	if err := s.client.Get(context.Background(), pod.NamespacedName, obj); err != nil || obj.UID != pod.UID {
		return podsecurity.Unknown(pod.Namespace) // it is gone by now; whoever writes that will find out
	}
	return policy.Check(obj)
}

// relook is refusal for a namespace that is not known. A MiniPod may be seen before the namespace that was made with it, since they
// are watched separately; so the API server is asked before anything is said. It runs beside the decisions.
func (s *Scheduler) relook(ctx context.Context, pod *framework.Pod) *podsecurity.Refusal {
	if _, known := s.namespaces.Policy(pod.Namespace); !known {
		ns := namespaceKind()
		if err := s.live.Get(ctx, client.ObjectKey{Name: pod.Namespace}, ns); err != nil {
			ctrl.LoggerFrom(ctx).Info("cannot read a namespace; its MiniPods wait", "namespace", pod.Namespace, "error", err.Error())
		} else if s.namespaces.Learn(ns.Name, ns.Labels) {
			s.cache.LearnNamespace(ns.Name, ns.Labels)
			s.namespaceChanged(ns.Name)
		}
	}
	return s.refusal(pod)
}

func notAllowed(why *podsecurity.Refusal) outcome {
	return outcome{result: resultPodSecurity, wait: queue.ForNamespace, reason: why.Reason, message: why.Message}
}

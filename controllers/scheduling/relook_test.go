package scheduling

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podsecurity"
	"miniplane.dev/miniplane/internal/sched/cache"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/queue"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// A namespace that is not known is asked for once before anything is said. What cannot be read refuses; what was learned counts, and
// wakes those who wait for it.
func TestRelook(t *testing.T) {
	restricted := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	for _, test := range []struct {
		name   string
		labels map[string]string
		gone   bool
		broken error
		want   string // the reason of the refusal
	}{
		{name: "without labels"},
		{name: "restricted", labels: restricted, want: miniv1.ReasonPodSecurityViolation},
		{name: "gone", gone: true, want: miniv1.ReasonPodSecurityUnknown},
		{name: "unreadable", broken: errors.New("forbidden"), want: miniv1.ReasonPodSecurityUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := builders.Pod("team", "web").Obj()
			build := fakeclient.NewClientBuilder().WithScheme(testenv.Scheme()).WithObjects(pod)
			if !test.gone {
				build = build.WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team", Labels: test.labels}})
			}
			c := interceptor.NewClient(build.Build(), interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					if _, namespace := obj.(*metav1.PartialObjectMetadata); namespace && test.broken != nil {
						return test.broken
					}
					return c.Get(ctx, key, obj, opts...)
				}})
			s := &Scheduler{client: c, live: c, queue: queue.New(time.Now), cache: cache.New()}
			s.queue.Add(framework.NewPod(pod))
			p, _ := s.queue.Pop()
			if got := s.decide(p); got.reason != miniv1.ReasonPodSecurityUnknown || got.wait != queue.ForNamespace || got.node != "" {
				t.Fatalf("decided %+v before the namespace is known", got)
			}
			refusal := s.relook(t.Context(), p)
			if got := reasonOf(refusal); got != test.want {
				t.Errorf("refused for %q, want %q", got, test.want)
			}
			s.queue.Park(p.UID, queue.ForNamespace)
			if _, again := s.queue.Pop(); again != (test.want == "") {
				t.Errorf("tried again at once: %t", again)
			}
		})
	}
}

func reasonOf(refusal *podsecurity.Refusal) string {
	if refusal == nil {
		return ""
	}
	return refusal.Reason
}

package scheduling_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// silence listens and never answers.
func silence(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var held sync.Map // or the collector would close what nobody holds
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			held.Store(conn, true)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		held.Range(func(conn, _ any) bool { _ = conn.(net.Conn).Close(); return true })
	})
	return listener.Addr().String()
}

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// webhook puts a validating webhook at an address before all updates of MiniPods of a namespace, and returns what takes it away.
func (w *world) webhook(namespace, address string) (away func()) {
	w.t.Helper()
	hook := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "tenant.example.com", AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: new(int32(5)),
			SideEffects:       new(admissionregistrationv1.SideEffectClassNone),
			FailurePolicy:     new(admissionregistrationv1.Fail),
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: new("https://" + address + "/")},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{miniv1.GroupVersion.Group}, APIVersions: []string{"*"}, Resources: []string{"*"}},
			}},
		}},
	}
	w.must(w.c.Create(w.t.Context(), hook))
	away = sync.OnceFunc(func() { _ = client.IgnoreNotFound(w.c.Delete(w.t.Context(), hook)) })
	w.t.Cleanup(func() { _ = w.c.Delete(w.t.Context(), hook) })
	return away
}

// eventsIn lists the reasons of the Events of a namespace.
func (w *world) eventsIn(namespace string) []string {
	list := &eventsv1.EventList{}
	w.must(w.c.List(context.Background(), list, client.InNamespace(namespace)))
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Reason)
	}
	return out
}

// The webhook of a tenant that is down, or hangs, stops that tenant's MiniPods and nobody else's; they keep their room, say why, and go
// on when it is gone.
func TestWebhookOfATenant(t *testing.T) {
	for name, address := range map[string]func(*testing.T) string{"down": nobody, "hanging": silence} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.node("n1", "10")
			tenant := testenv.Namespace(t, w.c)
			away := w.webhook(tenant, address(t))
			const many = 100 // more than there are writers, and all the room of the node
			for i := range many {
				pod := builders.Pod(tenant, fmt.Sprintf("t%d", i)).Requests("90m", "").Obj()
				pod.UID = ""
				w.must(w.c.Create(t.Context(), pod))
			}
			w.start()
			w.until("the tenant's MiniPods are tried", func() (bool, any) {
				events := w.eventsIn(tenant)
				return len(events) > 0 || name == "hanging", events
			})
			for i := range 10 {
				w.create(builders.Pod("", fmt.Sprintf("o%d", i)).Requests("100m", "").With(owned).Obj())
			}
			for i := range 10 {
				w.untilBound(fmt.Sprintf("o%d", i))
			}
			// Whether they are bound is not known, so their room is not given to others.
			w.create(builders.Pod("", "late").Requests("100m", "").With(owned).Obj())
			w.untilWaiting("late", miniv1.ReasonUnschedulable, "0/1 nodes are available: 1 insufficient cpu (asks 100m, free 0).")
			if name == "down" {
				w.until("why they wait is said", func() (bool, any) {
					events := w.eventsIn(tenant)
					return strings.Contains(strings.Join(events, "\n"), "BindingUnknown"), events
				})
			}
			away()
			w.until("all of the tenant's MiniPods are bound", func() (bool, any) {
				pods, bound := &miniv1.MiniPodList{}, 0
				w.must(w.c.List(t.Context(), pods, client.InNamespace(tenant)))
				for i := range pods.Items {
					if pods.Items[i].Status.NodeName != "" {
						bound++
					}
				}
				return bound == many, bound
			})
		})
	}
}

package gc_test

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/gc"
	"miniplane.dev/miniplane/internal/endpoints"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

type world struct {
	*testing.T
	client.Client
	ns string
}

func run(t *testing.T) world {
	t.Helper()
	_, c := testenv.Start(t)
	_ = c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: miniv1.SystemNamespace}})
	testenv.StartManager(t, func(mgr ctrl.Manager) error { return gc.Setup(mgr, gc.Options{}) })
	return world{t, c, testenv.Namespace(t, c)}
}

func (w world) create(object client.Object) {
	w.Helper()
	if err := w.Create(w.Context(), object); err != nil {
		w.Fatal(err)
	}
}

func (w world) gone(object client.Object) bool {
	err := w.Get(context.Background(), client.ObjectKeyFromObject(object), object)
	return apierrors.IsNotFound(err)
}

func (w world) goes(object client.Object) {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		if !w.gone(object) {
			return object.GetName() + " is still there"
		}
		return ""
	})
}

func (w world) stays(objects ...client.Object) {
	w.Helper()
	for _, object := range objects {
		if w.gone(object) {
			w.Errorf("%s was removed", object.GetName())
		}
	}
}

func lease(name, holder string, age time.Duration) *coordinationv1.Lease {
	renewed := metav1.NewMicroTime(time.Now().Add(-age))
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: name},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed}}
}

func TestLeasesOfAgentsThatAreGone(t *testing.T) {
	w := run(t)
	node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "there"}}
	w.create(node)
	there, old, young := lease("there", "there", time.Hour), lease("old", "old", time.Hour), lease("young", "young", 0)
	managers := lease("miniplane-manager", "manager-7d9f_1234", time.Hour)
	for _, l := range []client.Object{there, young, managers, old} {
		w.create(l)
	}
	w.goes(old)
	w.stays(there, young, managers)
	if err := w.Delete(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	w.goes(there)
	w.stays(young, managers)
}

func TestEndpointSlicesWithoutOwner(t *testing.T) {
	w := run(t)
	service := &miniv1.MiniService{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "there"},
		Spec: miniv1.MiniServiceSpec{Ports: []miniv1.ServicePort{{Port: 80}}}}
	w.create(service)
	slice := func(name, service string, change ...func(*discoveryv1.EndpointSlice)) *discoveryv1.EndpointSlice {
		out := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4,
			ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Labels: endpoints.Labels(service)}}
		for _, change := range change {
			change(out)
		}
		w.create(out)
		return out
	}
	byHand := slice("by-hand", "gone", func(s *discoveryv1.EndpointSlice) { delete(s.Labels, discoveryv1.LabelManagedBy) })
	owned := slice("owned", "gone", func(s *discoveryv1.EndpointSlice) {
		s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(service, miniv1.GroupVersion.WithKind("MiniService"))}
	})
	restored, orphan := slice("restored", "there"), slice("orphan", "gone")
	w.goes(orphan)
	w.stays(byHand, owned, restored)
	if err := w.Delete(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	w.goes(restored)
	w.stays(byHand, owned)
}

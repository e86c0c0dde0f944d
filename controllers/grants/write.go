package grants

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/grants"
)

var written = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "miniplane_grants_written_total",
	Help: "Writes by which nodes got or lost the right to read Secrets and ConfigMaps, by kind and verb.",
}, []string{"kind", "verb"})

func init() { metrics.Registry.MustRegister(written) }

// grant writes what is missing, all at the same time: a start waits for it.
func (r *reconciler) grant(ctx context.Context, namespace string, node grants.Node, want []grants.Reference) error {
	writes := []func() error{
		func() error { return r.writeRole(ctx, node.Role(namespace, want)) },
		func() error { return r.writeBinding(ctx, node.Binding(namespace)) },
		func() error { return r.writeAccount(ctx, node.Account()) },
	}
	errs := make([]error, len(writes))
	var group sync.WaitGroup
	for i, write := range writes {
		group.Go(func() {
			if err := write(); !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				errs[i] = err
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (r *reconciler) writeRole(ctx context.Context, want *rbacv1.Role) error {
	var now rbacv1.Role
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(want), &now); err != nil {
		return r.create(ctx, want, err)
	}
	if equality.Semantic.DeepEqual(now.Rules, want.Rules) && equality.Semantic.DeepEqual(now.OwnerReferences, want.OwnerReferences) {
		return nil
	}
	now.Rules, now.OwnerReferences = want.Rules, want.OwnerReferences
	return r.update(ctx, &now)
}

func (r *reconciler) writeBinding(ctx context.Context, want *rbacv1.RoleBinding) error {
	var now rbacv1.RoleBinding
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(want), &now); err != nil {
		return r.create(ctx, want, err)
	}
	if now.RoleRef != want.RoleRef { // which cannot be changed; its end has it made anew
		return r.remove(ctx, &now)
	}
	if equality.Semantic.DeepEqual(now.Subjects, want.Subjects) && equality.Semantic.DeepEqual(now.OwnerReferences, want.OwnerReferences) {
		return nil
	}
	now.Subjects, now.OwnerReferences = want.Subjects, want.OwnerReferences
	return r.update(ctx, &now)
}

// writeAccount makes it. One of a MiniNode of the past goes with that, and is made anew then.
func (r *reconciler) writeAccount(ctx context.Context, want *corev1.ServiceAccount) error {
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(want), &corev1.ServiceAccount{}); err != nil {
		return r.create(ctx, want, err)
	}
	return nil
}

// create makes what the cache does not have; missing is the cache's word for that.
func (r *reconciler) create(ctx context.Context, o client.Object, missing error) error {
	if !apierrors.IsNotFound(missing) {
		return missing
	}
	err := r.client.Create(ctx, o)
	if apierrors.IsAlreadyExists(err) {
		return r.explain(ctx, o)
	}
	if err == nil {
		written.WithLabelValues(kindOf(o), "create").Inc()
	}
	return err
}

// explain tells why something is there that the cache does not have: because the cache is behind, and then its news come here, or because
// it is not one of ours, and then nobody gives the right.
func (r *reconciler) explain(ctx context.Context, o client.Object) error {
	now := o.DeepCopyObject().(client.Object)
	if err := r.reader.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
		return err // also if it went meanwhile: of what is not ours no news come
	}
	if _, account := o.(*corev1.ServiceAccount); account || now.GetLabels()[miniv1.GrantLabel] == "true" {
		return nil
	}
	return fmt.Errorf("%s %s/%s is not labelled %s=true, so it is somebody else's, and its node cannot read what its MiniPods use: delete it",
		kindOf(o), o.GetNamespace(), o.GetName(), miniv1.GrantLabel)
}

func (r *reconciler) update(ctx context.Context, o client.Object) error {
	err := r.client.Update(ctx, o)
	if err == nil {
		written.WithLabelValues(kindOf(o), "update").Inc()
	}
	return client.IgnoreNotFound(err)
}

func (r *reconciler) remove(ctx context.Context, o client.Object) error {
	err := r.client.Delete(ctx, o)
	if err == nil {
		written.WithLabelValues(kindOf(o), "delete").Inc()
	}
	return client.IgnoreNotFound(err)
}

// revoke removes what a node has in a namespace.
func (r *reconciler) revoke(ctx context.Context, req ctrl.Request) error {
	key := client.ObjectKey{Namespace: req.Namespace, Name: grants.RoleName(req.Name)}
	var errs []error
	for _, o := range []client.Object{&rbacv1.RoleBinding{}, &rbacv1.Role{}} {
		err := r.client.Get(ctx, key, o)
		if err == nil {
			err = r.remove(ctx, o)
		}
		errs = append(errs, client.IgnoreNotFound(err))
	}
	return errors.Join(errs...)
}

func kindOf(o client.Object) string {
	switch o.(type) {
	case *rbacv1.Role:
		return "Role"
	case *rbacv1.RoleBinding:
		return "RoleBinding"
	}
	return "ServiceAccount"
}

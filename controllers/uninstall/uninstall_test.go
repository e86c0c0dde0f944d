package uninstall_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/uninstall"
	"miniplane.dev/miniplane/internal/eviction"
	"miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func guarded(t *testing.T, c client.Client) bool {
	t.Helper()
	guard := &admissionv1.ValidatingAdmissionPolicyBinding{}
	err := c.Get(t.Context(), client.ObjectKey{Name: uninstall.Guard}, guard)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return err == nil && slices.Contains(guard.Spec.ValidationActions, admissionv1.Deny)
}

// heldPod makes a MiniPod on a node, which an agent has to let go of.
func heldPod(t *testing.T, c client.Client, ns, name string) *miniv1.MiniPod {
	t.Helper()
	pod := builders.Pod(ns, name).Obj()
	pod.UID, pod.Finalizers = "", []string{miniv1.AgentFinalizer}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"nodeName":"one"}}`))
	if err := c.Status().Patch(t.Context(), pod, patch); err != nil {
		t.Fatal(err)
	}
	return pod
}

func letGo(ctx context.Context, c client.Client, pod *miniv1.MiniPod) error {
	return c.Patch(ctx, pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))
}

// The guard stays, and says why, as long as an agent has not let go of a MiniPod; then all goes.
func TestUninstall(t *testing.T) {
	_, c := testenv.Start(t)
	if err := testenv.Apply(t.Context(), c, filepath.Join(testenv.Root(), "config", "policy", "uninstall.yaml")); err != nil {
		t.Fatal(err)
	}
	one, two := testenv.Namespace(t, c), testenv.Namespace(t, c)
	held := heldPod(t, c, one, "held")
	for _, object := range []client.Object{
		&miniv1.MiniService{ObjectMeta: metav1.ObjectMeta{Namespace: two, Name: "web"},
			Spec: miniv1.MiniServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []miniv1.ServicePort{{Port: 80}}}},
		&miniv1.MiniQuota{ObjectMeta: metav1.ObjectMeta{Namespace: two, Name: "team"},
			Spec: miniv1.MiniQuotaSpec{Hard: corev1.ResourceList{"cpu": resource.MustParse("1")}}},
		&miniv1.MiniJob{ObjectMeta: metav1.ObjectMeta{Namespace: two, Name: "work"}, Spec: miniv1.MiniJobSpec{Template: miniv1.MiniPodTemplateSpec{
			Spec: miniv1.MiniPodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []miniv1.Container{{Name: "main", Image: "echo:test"}}}}}},
	} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	// It is given up as soon as it has seen what it waits for.
	short, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := uninstall.Run(short, c, funcr.New(func(_, args string) {
		if strings.Contains(args, "1 on one") {
			cancel()
		}
	}, funcr.Options{}))
	if err == nil || !strings.Contains(err.Error(), "1 MiniPods (1 on one)") || !strings.Contains(err.Error(), "kubectl delete node") {
		t.Errorf("with a MiniPod that is held: %v", err)
	}
	if !guarded(t, c) {
		t.Fatal("the guard was lifted while a MiniPod was left")
	}
	if err := letGo(t.Context(), c, held); err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // the second time there is nothing to do
		if err := uninstall.Run(t.Context(), c, logr.Discard()); err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
		if guarded(t, c) {
			t.Errorf("run %d: the guard is still there", i)
		}
	}
	for _, list := range []client.ObjectList{&miniv1.MiniPodList{}, &miniv1.MiniServiceList{}, &miniv1.MiniQuotaList{}, &miniv1.MiniJobList{}} {
		if err := c.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(list); strings.Contains(text, one) || strings.Contains(text, two) {
			t.Errorf("left: %s", text)
		}
	}
}

// The Job may do what it must, and no more: its rights are those of config/rbac.
func TestUninstallWithItsOwnRights(t *testing.T) {
	config, admin := testenv.Start(t)
	for _, file := range []string{"config/rbac/namespace.yaml", "config/rbac/uninstall.yaml", "config/policy/uninstall.yaml", "config/policy/markers.yaml"} {
		if err := testenv.Apply(t.Context(), admin, filepath.Join(testenv.Root(), file)); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	armed := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: uninstall.Guard}}
	deny := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"validationActions":["Deny"]}}`))
	if err := admin.Patch(t.Context(), armed, deny); err != nil {
		t.Fatal(err)
	}
	config.Impersonate.UserName = "system:serviceaccount:miniplane-system:miniplane-uninstall"
	job, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	ns := testenv.Namespace(t, admin)
	pod := heldPod(t, admin, ns, "held")
	if err := letGo(t.Context(), admin, pod); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, func() string { // rights take a moment to be known
		if err := job.List(t.Context(), &miniv1.MiniPodList{}); err != nil {
			return err.Error()
		}
		return ""
	})
	marker := eviction.Marker(&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "one", UID: "one"}})
	drained := eviction.Marker(&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "drained", UID: "drained"}})
	for _, object := range []*corev1.Pod{marker, drained} {
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.Delete(t.Context(), drained); err != nil { // the manager that would let go of it is away
		t.Fatal(err)
	}
	granted, theirs := grantsOf(t, admin, ns)
	if err := uninstall.Run(t.Context(), job, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	for _, o := range granted {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
			t.Errorf("%T %s is left: %v", o, o.GetName(), err)
		}
	}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil {
		t.Errorf("a Role of somebody else, with our label: %v", err)
	}
	if guarded(t, admin) {
		t.Error("the guard is still there")
	}
	for _, object := range []*corev1.Pod{marker, drained} {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); !apierrors.IsNotFound(err) {
			t.Errorf("drain marker %s would hold the namespace up: %v", object.Name, err)
		}
	}
	other := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "pods.miniplane.dev"}}
	if err := job.Patch(t.Context(), other, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"validationActions":["Audit"]}}`))); !apierrors.IsForbidden(err) {
		t.Errorf("it may lift other policies: %v", err)
	}
}

// grantsOf makes what the manager gave to a node, and a Role of somebody who uses its label.
func grantsOf(t *testing.T, admin client.Client, ns string) (granted []client.Object, theirs client.Object) {
	t.Helper()
	manager, err := testenv.MasterAs("system:serviceaccount:miniplane-system:miniplane-manager")
	if err != nil {
		t.Fatal(err)
	}
	node := grants.Node{Name: "one", UID: "00000000-0000-0000-0000-000000000001"}
	granted = []client.Object{node.Role(ns, []grants.Reference{{Resource: grants.Secrets, Name: "s"}}), node.Binding(ns)}
	for _, o := range granted {
		if err := manager.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	theirs = &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "theirs", Labels: map[string]string{miniv1.GrantLabel: "true"}}}
	if err := admin.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	return granted, theirs
}

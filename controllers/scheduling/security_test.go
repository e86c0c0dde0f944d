package scheduling_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
	"miniplane.dev/miniplane/test/testenv"
)

// enforce labels a namespace; an empty level takes the label off.
func (w *world) enforce(namespace, level string) {
	w.t.Helper()
	value := fmt.Sprintf("%q", level)
	if level == "" {
		value = "null"
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	patch := fmt.Sprintf(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%s}}}`, value)
	w.must(w.c.Patch(w.t.Context(), ns, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// untilRefused waits until the MiniPod waits for its namespace, with a message that contains each of the parts.
func (w *world) untilRefused(name string, parts ...string) {
	w.t.Helper()
	w.until(name+" is refused", func() (bool, any) {
		pod, _ := w.get(name)
		got := scheduled(pod)
		ok := pod.Status.NodeName == "" && strings.HasPrefix(got, "False "+miniv1.ReasonPodSecurityViolation)
		for _, part := range parts {
			ok = ok && strings.Contains(got, part)
		}
		return ok, got
	})
}

// conforming meets the restricted level.
func conforming(p *miniv1.MiniPod) {
	p.Spec.SecurityContext = &miniv1.PodSecurityContext{
		RunAsNonRoot: new(true), SeccompProfile: &miniv1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &miniv1.Capabilities{Drop: []miniv1.Capability{"ALL"}}}
}

// A MiniPod that violates the level of its namespace waits, and says what to change; one that meets it is bound. Both move with the
// label, and for nothing else.
func TestLevelOfTheNamespace(t *testing.T) {
	w := newWorld(t)
	w.enforce(w.ns, "restricted")
	w.node("n1", "2")
	w.start()
	w.create(builders.Pod("", "plain").With(owned).Obj())
	w.create(builders.Pod("", "good").With(owned).With(conforming).Obj())
	w.untilBound("good")
	w.untilRefused("plain", `violates PodSecurity "restricted:latest"`, `container "main" must set securityContext.allowPrivilegeEscalation=false`,
		"must set securityContext.runAsNonRoot=true")
	w.untilWrote("plain", "PATCH plain/status")
	w.until("an Event tells of it", func() (bool, any) {
		var list eventsv1.EventList
		w.must(w.c.List(t.Context(), &list, client.InNamespace(w.ns)))
		for i := range list.Items {
			if e := &list.Items[i]; e.Regarding.Name == "plain" && strings.Contains(e.Note, "violates PodSecurity") {
				return true, ""
			}
		}
		return false, len(list.Items)
	})
	w.changeNode("n1", func(n *corev1.Node) { n.Labels = map[string]string{"a": "b"} }) // room for it would not help it
	w.enforce(w.ns, "baseline")
	w.untilBound("plain")
	w.untilWrote("plain", "PATCH plain/status", "PATCH plain/status")
}

// Equals wait together; those that differ only in what the level looks at do not hold each other up.
func TestRefusedDoNotHoldUpOthers(t *testing.T) {
	w := newWorld(t)
	w.enforce(w.ns, "restricted")
	w.node("n1", "2")
	w.start()
	w.create(builders.Pod("", "a-privileged").With(owned).With(func(p *miniv1.MiniPod) {
		p.Spec.Containers[0].SecurityContext = &miniv1.SecurityContext{Privileged: new(true)}
	}).Obj())
	w.untilRefused("a-privileged", "privileged")
	for _, name := range []string{"b-plain", "c-plain"} {
		w.create(builders.Pod("", name).With(owned).Obj())
		w.untilRefused(name)
	}
	w.enforce(w.ns, "baseline")
	w.untilBound("b-plain")
	w.untilBound("c-plain")
	w.untilRefused("a-privileged", `container "main" must not set securityContext.privileged=true`)
	w.enforce(w.ns, "")
	w.untilBound("a-privileged")
}

// An annotation can be what is wrong, and it can be corrected.
func TestRefusedForAnAnnotation(t *testing.T) {
	w := newWorld(t)
	w.enforce(w.ns, "baseline")
	w.node("n1", "2")
	w.start()
	pod := w.create(builders.Pod("", "annotated").With(owned).With(func(p *miniv1.MiniPod) {
		p.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}
	}).Obj())
	w.untilRefused("annotated", "container.apparmor.security.beta.kubernetes.io/main")
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":null}}`))
	w.must(w.c.Patch(t.Context(), pod, patch))
	w.untilBound("annotated")
}

// A namespace and its MiniPod that come in one breath are no trouble, though they are watched separately.
func TestNewNamespace(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "2")
	w.start()
	w.create(builders.Pod("", "first").With(owned).Obj())
	w.untilBound("first")
	for range 5 {
		w.ns = testenv.Namespace(t, w.c)
		w.create(builders.Pod("", "web").With(owned).Obj())
		w.untilBound("web")
	}
	bindings := slices.Repeat([]string{"PATCH web/status"}, 5)
	w.untilWrote("web", bindings...)
}

// A scheduler that may not read namespaces binds nothing.
func TestNamespacesCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "2")
	w.writes.deny("/api/v1/namespaces")
	w.start()
	w.create(builders.Pod("", "web").With(owned).Obj())
	testenv.Never(t, time.Second, func() string {
		if pod, _ := w.get("web"); pod.Status.NodeName != "" {
			return "bound to " + pod.Status.NodeName
		}
		return ""
	})
	w.writes.deny("")
	w.untilBound("web")
}

package api

import (
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

// Words of the refusals.
const (
	onlyBound     = "bound to its node"
	onlyFinalizer = "may take off the finalizer"
	onlyItsName   = "the name of its node"
	sameSecrets   = "the imagePullSecrets of a bound MiniPod stay what they are"
	noRight       = "cannot "
)

// attempts are those of the agent of one node.
type attempts struct {
	t         *testing.T
	admin     client.Client
	agent     client.Client
	node      string
	namespace string
}

// newAttempts makes the node's agent, and other nodes with what they have.
func newAttempts(t *testing.T, config *rest.Config, admin client.Client, kind credential) *attempts {
	t.Helper()
	a := &attempts{t: t, admin: admin, node: kind.name + "-one", namespace: testenv.Namespace(t, admin)}
	a.agent = kind.client(t, config, admin, a.node)
	a.must(admin.Create(t.Context(), a.miniNode(a.other())))
	a.must(admin.Create(t.Context(), a.lease(agentNamespace, a.other())))
	// The manager's, of the first kind of credential already.
	_ = admin.Create(t.Context(), a.lease(agentNamespace, "miniplane-manager"))
	return a
}

func (a *attempts) other() string { return a.node + "-x" }

func (a *attempts) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *attempts) create(o client.Object) func() error {
	return func() error { return a.agent.Create(a.t.Context(), o) }
}

func (a *attempts) patch(o client.Object, patch string) func() error {
	return func() error { return patchWith(a.t, a.agent, o, patch) }
}

func (a *attempts) status(o client.Object, patch string) func() error {
	return func() error {
		return a.agent.Status().Patch(a.t.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(mergePatch, []byte(patch)))
	}
}

func (a *attempts) remove(o client.Object) func() error {
	return func() error { return a.agent.Delete(a.t.Context(), o.DeepCopyObject().(client.Object)) }
}

func (a *attempts) get(namespace, name string, o client.Object) func() error {
	return func() error { return a.agent.Get(a.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o) }
}

func (a *attempts) list(list client.ObjectList) func() error {
	return func() error { return a.agent.List(a.t.Context(), list) }
}

func (a *attempts) miniNode(name string) *miniv1.MiniNode {
	return &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func (a *attempts) lease(namespace, name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func (a *attempts) onMiniPods() []attempt {
	mine := boundPod(a.t, a.admin, a.namespace, "mine", a.node)
	other := boundPod(a.t, a.admin, a.namespace, "other", a.other())
	unbound := boundPod(a.t, a.admin, a.namespace, "unbound", "")
	withSecrets := boundPod(a.t, a.admin, a.namespace, "with-secrets", "")
	a.must(a.admin.Status().Patch(a.t.Context(), withSecrets, client.RawPatch(mergePatch,
		fmt.Appendf(nil, `{"status":{"nodeName":%q,"imagePullSecrets":[{"name":"s"}]}}`, a.node))))
	fresh := mine.DeepCopy()
	fresh.ObjectMeta = metav1.ObjectMeta{Namespace: a.namespace, Name: "fresh"}
	const running = `{"status":{"phase":"Running"}}`
	return []attempt{
		{"status of a MiniPod of its own", a.status(mine, running), ""},
		{"status of another node's MiniPod", a.status(other, running), onlyBound},
		{"status of an unbound MiniPod", a.status(unbound, running), onlyBound},
		{"binding to itself", a.status(unbound, fmt.Sprintf(`{"status":{"nodeName":%q}}`, a.node)), onlyBound},
		{"taking another node's MiniPod", a.status(other, fmt.Sprintf(`{"status":{"nodeName":%q}}`, a.node)), "a bound MiniPod stays on its node"},
		{"giving a MiniPod away", a.status(mine, `{"status":{"nodeName":"two"}}`), "a bound MiniPod stays on its node"},
		{"letting a MiniPod be bound anew", a.status(mine, `{"status":{"nodeName":null}}`), "a bound MiniPod stays on its node"},
		{"pull secrets of a ServiceAccount", a.status(mine, `{"status":{"imagePullSecrets":[{"name":"stolen"}]}}`), sameSecrets},
		{"other pull secrets", a.status(withSecrets, `{"status":{"imagePullSecrets":[{"name":"stolen"}]}}`), sameSecrets},
		{"no pull secrets", a.status(withSecrets, `{"status":{"imagePullSecrets":null}}`), sameSecrets},
		{"status of a MiniPod with pull secrets", a.status(withSecrets, running), ""},
		{"image", a.patch(mine, `{"spec":{"containers":[{"name":"c","image":"miniplane.dev/echo:v2"}]}}`), onlyFinalizer},
		{"pull secrets", a.patch(mine, `{"spec":{"imagePullSecrets":[{"name":"stolen"}]}}`), "denied request"},
		{"grace period", a.patch(mine, `{"spec":{"terminationGracePeriodSeconds":9}}`), onlyFinalizer},
		{"labels", a.patch(mine, `{"metadata":{"labels":{"app":"x"}}}`), onlyFinalizer},
		{"annotations", a.patch(mine, `{"metadata":{"annotations":{"a":"b"}}}`), onlyFinalizer},
		{"owner", a.patch(mine, `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"y"}]}}`), onlyFinalizer},
		{"a finalizer on", a.patch(mine, `{"metadata":{"finalizers":["example.com/other","miniplane.dev/agent","example.com/x"]}}`), onlyFinalizer},
		{"another finalizer off", a.patch(mine, `{"metadata":{"finalizers":["miniplane.dev/agent"]}}`), onlyFinalizer},
		{"finalizer of another node's MiniPod", a.patch(other, `{"metadata":{"finalizers":["example.com/other"]}}`), onlyBound},
		{"its finalizer off", a.patch(mine, `{"metadata":{"finalizers":["example.com/other"]}}`), ""},
		{"a MiniPod of its own making", a.create(fresh), noRight + "create"},
		{"delete a MiniPod", a.remove(mine), noRight + "delete"},
		{"update a MiniPod whole", func() error { return a.agent.Update(a.t.Context(), mine.DeepCopy()) }, noRight + "update"},
	}
}

func (a *attempts) onMiniNodes() []attempt {
	mine, other := a.miniNode(a.node), a.miniNode(a.other())
	asking, owned, held := a.miniNode(a.node), a.miniNode(a.node), a.miniNode(a.node)
	asking.Spec.PodCIDR = "100.64.4.0/22"
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "x", UID: uidOf}}
	held.Finalizers = []string{"example.com/other"}
	given := func() error {
		return a.admin.Status().Patch(a.t.Context(), a.miniNode(a.node), client.RawPatch(mergePatch, []byte(`{"status":{"podCIDR":"100.64.8.0/22"}}`)))
	}
	const byManager, bare = "status.podCIDR is given by the manager", "makes its MiniNode bare"
	return []attempt{
		{"MiniNode that asks for a range", a.create(asking), bare},
		{"MiniNode with an owner", a.create(owned), bare},
		{"MiniNode with a finalizer", a.create(held), bare},
		{"another MiniNode", a.create(a.miniNode(a.node + "-y")), onlyItsName},
		{"its MiniNode", a.create(mine), ""},
		{"status of its MiniNode", a.status(mine, `{"status":{"nodeIP":"192.0.2.1"}}`), ""},
		{"a range", a.status(mine, `{"status":{"podCIDR":"100.64.4.7/32"}}`), byManager},
		{"a range beside the rest", a.status(mine, `{"status":{"nodeIP":"192.0.2.1","podCIDR":"100.64.0.0/11"}}`), byManager},
		{"(the manager gives one)", given, ""},
		{"another range", a.status(mine, `{"status":{"podCIDR":"100.64.4.0/22"}}`), "the range of a node stays"},
		{"giving the range back", a.status(mine, `{"status":{"podCIDR":null}}`), byManager},
		{"dropping the status", a.status(mine, `{"status":null}`), byManager},
		{"status with a range", a.status(mine, `{"status":{"nodeIP":"192.0.2.2","podCIDR":"100.64.8.0/22"}}`), ""},
		{"asking for a range later", a.patch(mine, `{"spec":{"podCIDR":"100.64.4.0/22"}}`), noRight + "patch"},
		{"labels of its MiniNode", a.patch(mine, `{"metadata":{"labels":{"a":"b"}}}`), noRight + "patch"},
		{"status of another MiniNode", a.status(other, `{"status":{"nodeIP":"192.0.2.1"}}`), onlyItsName},
		{"range of another MiniNode", a.status(other, `{"status":{"podCIDR":"100.64.4.0/22"}}`), onlyItsName},
		{"delete its MiniNode", a.remove(mine), noRight + "delete"},
		{"delete another MiniNode", a.remove(other), noRight + "delete"},
	}
}

func (a *attempts) onLeases() []attempt {
	mine, theirs, managers := a.lease(agentNamespace, a.node), a.lease(agentNamespace, a.other()), a.lease(agentNamespace, "miniplane-manager")
	return []attempt{
		{"its Lease", a.create(mine), ""},
		{"renewal", a.patch(mine, fmt.Sprintf(`{"spec":{"holderIdentity":%q}}`, a.node)), ""},
		{"its Lease for another", a.patch(mine, `{"spec":{"holderIdentity":"two"}}`), "is held by its node"},
		{"another Lease", a.create(a.lease(agentNamespace, a.node+"-y")), onlyItsName},
		{"beating for another node", a.patch(theirs, `{"spec":{"leaseDurationSeconds":9}}`), onlyItsName},
		{"taking the leadership", a.patch(managers, `{"spec":{"holderIdentity":"me"}}`), onlyItsName},
		{"delete its Lease", a.remove(mine), noRight + "delete"},
		{"a Lease elsewhere", a.create(a.lease(a.namespace, a.node)), noRight + "create"},
	}
}

// event is one that an agent sends.
func (a *attempts) event(name string, change func(*eventsv1.Event)) *eventsv1.Event {
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: a.node + "." + name}, EventTime: metav1.NewMicroTime(time.Now()),
		ReportingController: "miniplane-agent", ReportingInstance: a.node,
		Type: corev1.EventTypeWarning, Reason: "Failed", Action: "StartContainer", Note: "it failed",
		Regarding: corev1.ObjectReference{APIVersion: miniv1.GroupVersion.String(), Kind: "MiniPod", Namespace: a.namespace, Name: "mine"},
	}
	if change != nil {
		change(event)
	}
	return event
}

// about makes an Event one about something else.
func about(apiVersion, kind, name string) func(*eventsv1.Event) {
	return func(e *eventsv1.Event) {
		e.Namespace = metav1.NamespaceDefault
		e.Regarding = corev1.ObjectReference{APIVersion: apiVersion, Kind: kind, Name: name}
	}
}

func (a *attempts) onEvents() []attempt {
	mine, theirs := a.event("mine", nil), a.event("theirs", func(e *eventsv1.Event) { e.ReportingInstance = "two" })
	a.must(a.admin.Create(a.t.Context(), theirs))
	mini := miniv1.GroupVersion.String()
	const signed, subject, others = "its Events say so", "its Events are about", "somebody else's"
	return []attempt{
		{"Event about a MiniPod", a.create(mine), ""},
		{"Event about its MiniNode", a.create(a.event("mininode", about(mini, "MiniNode", a.node))), ""},
		{"Event about its Node", a.create(a.event("node", about("v1", "Node", a.node))), ""},
		{"a series of its own", a.patch(mine, `{"series":{"count":2,"lastObservedTime":"2026-01-02T03:04:05.000000Z"}}`), ""},
		{"Event about another MiniNode", a.create(a.event("e1", about(mini, "MiniNode", a.other()))), subject},
		{"Event about another Node", a.create(a.event("e2", about("v1", "Node", a.other()))), subject},
		{"Event about a native Pod", a.create(a.event("e3", func(e *eventsv1.Event) { e.Regarding.APIVersion, e.Regarding.Kind = "v1", "Pod" })), subject},
		{"Event about a Secret", a.create(a.event("e4", func(e *eventsv1.Event) { e.Regarding.APIVersion, e.Regarding.Kind = "v1", "Secret" })), subject},
		{"Event about another group's MiniPod", a.create(a.event("e5", func(e *eventsv1.Event) { e.Regarding.APIVersion = "example.com/v1" })), subject},
		{"Event about a MiniDeployment", a.create(a.event("e6", func(e *eventsv1.Event) { e.Regarding.Kind = "MiniDeployment" })), subject},
		{"Event in another node's name", a.create(a.event("e7", func(e *eventsv1.Event) { e.ReportingInstance = "two" })), signed},
		{"Event in the scheduler's name", a.create(a.event("e8", func(e *eventsv1.Event) { e.ReportingController = "miniplane-scheduler" })), signed},
		{"Event in the kubelet's name", a.create(a.event("e9", func(e *eventsv1.Event) { e.ReportingController = "kubelet" })), signed},
		{"Event with something related", a.create(a.event("e10", func(e *eventsv1.Event) {
			e.Related = &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: a.other()}
		})), "about one object"},
		{"another node's Event", a.patch(theirs, `{"series":{"count":2,"lastObservedTime":"2026-01-02T03:04:05.000000Z"}}`), signed},
		{"another node's Event as its own", a.patch(theirs, fmt.Sprintf(`{"reportingInstance":%q}`, a.node)), "Event"},
		{"delete an Event", a.remove(mine), noRight + "delete"},
	}
}

func (a *attempts) onOthers() []attempt {
	meta := metav1.ObjectMeta{Namespace: a.namespace, Name: "x"}
	service := &miniv1.MiniService{ObjectMeta: meta, Spec: miniv1.MiniServiceSpec{Ports: []miniv1.ServicePort{{Port: 80}}}}
	role := &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"}}
	return []attempt{
		{"a MiniService", a.create(service), noRight + "create"},
		{"a role", a.create(role), noRight + "create"},
		{"a ServiceAccount", a.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: agentNamespace, Name: a.node}}), noRight + "create"},
		{"a ConfigMap", a.get(a.namespace, "x", &corev1.ConfigMap{}), noRight + "get"},
		{"native Pods", a.list(&corev1.PodList{}), noRight + "list"},
		{"all Secrets", a.list(&corev1.SecretList{}), noRight + "list"},
		{"all ConfigMaps", a.list(&corev1.ConfigMapList{}), noRight + "list"},
		{"MiniPods", a.list(&miniv1.MiniPodList{}), ""},
		{"MiniNodes", a.list(&miniv1.MiniNodeList{}), ""},
		{"MiniServices", a.list(&miniv1.MiniServiceList{}), ""},
		{"Namespaces", a.list(&corev1.NamespaceList{}), ""},
	}
}

// onNodes are for agents that keep the core Node too.
func (a *attempts) onNodes() []attempt {
	node := func(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	other := node(a.other())
	a.must(a.admin.Create(a.t.Context(), other))
	return []attempt{
		{"its Node", a.create(node(a.node)), ""},
		{"another Node", a.create(node(a.node + "-y")), onlyItsName},
		{"status of its Node", a.status(node(a.node), `{"status":{"nodeInfo":{"kernelVersion":"6"}}}`), ""},
		{"status of another Node", a.status(other, `{"status":{"nodeInfo":{"kernelVersion":"6"}}}`), onlyItsName},
		{"labels of another Node", a.patch(other, `{"metadata":{"labels":{"a":"b"}}}`), onlyItsName},
		{"delete its Node", a.remove(node(a.node)), noRight + "delete"},
	}
}

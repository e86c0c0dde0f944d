package api

import (
	"fmt"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	plan "miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/test/testenv"
)

// says writes what an agent says of itself into its MiniNode.
func (w *grantWorld) says(node, version, readsAsNode string) {
	w.Helper()
	patch := fmt.Appendf(nil, `{"status":{"nodeInfo":{"agentVersion":%q,"readsAsNode":%q}}}`, version, readsAsNode)
	w.must(w.admin.Status().Patch(w.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: node}}, client.RawPatch(mergePatch, patch)))
}

// An agent that is older than the nodes' accounts reads in its own name, and so what its node uses; until it is replaced, or again after
// it was brought back.
func TestOldAgentsReadInTheirOwnName(t *testing.T) {
	w := newGrantWorld(t)
	w.manager()
	old, _ := w.node("grants-old")
	_, other := w.node("grants-new")
	w.secret("olds")
	w.secret("news")
	w.says("grants-old", "v1", "")
	w.says("grants-new", "v2", "v2")
	w.pod("old", "grants-old", "olds")
	w.pod("new", "grants-new", "news")
	if _, err := w.read(other, "news", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	get := func(name string) error {
		return old.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, &corev1.Secret{})
	}
	for _, step := range []struct {
		version, reads string
		may            bool
	}{{"v1", "", true}, {"v2", "v2", false}, {"v1", "v2", true}} {
		w.says("grants-old", step.version, step.reads)
		testenv.Eventually(t, func() string {
			if err := get("olds"); (err == nil) != step.may {
				return fmt.Sprintf("%+v: %v", step, err)
			}
			return ""
		})
		if err := get("news"); err == nil {
			t.Errorf("%+v: it reads what an agent of today uses", step)
		}
	}
}

// What a node needs follows its MiniNode and its account, in whatever order they come and go.
func TestNodesComeAndGo(t *testing.T) {
	w := newGrantWorld(t)
	w.manager()
	w.secret("s")
	w.pod("early", "grants-late", "s")
	testenv.Never(t, soon, func() string {
		if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: plan.RoleName("grants-late")}, &rbacv1.Role{}); err == nil {
			return "a node that does not exist may read"
		}
		return ""
	})
	_, reader := w.node("grants-late")
	if _, err := w.read(reader, "s", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.NodesNamespace, Name: "grants-late"}}
	w.must(w.admin.Get(t.Context(), client.ObjectKeyFromObject(account), account))
	w.must(w.admin.Delete(t.Context(), account))
	testenv.Eventually(t, func() string {
		again := account.DeepCopy()
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(again), again); err != nil || again.UID == account.UID {
			return fmt.Sprintf("the account is not made anew: %v", err)
		}
		return ""
	})
	if _, err := w.read(reader, "s", 20*time.Second); err != nil {
		t.Errorf("with an account that was made anew: %v", err)
	}
}

// writer may write Roles and RoleBindings in the namespace, and read no Secret, as some people may who care for rights.
func (w *grantWorld) writer() client.Client {
	w.Helper()
	name := "writer-of-" + w.ns
	w.must(w.admin.Create(w.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: []string{"*"}}}}))
	w.must(w.admin.Create(w.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}}}))
	return as(w.T, w.config, rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}})
}

// Nobody gets at Secrets by a Role that the manager fills.
func TestNobodyElseGrants(t *testing.T) {
	w := newGrantWorld(t)
	w.manager()
	w.node("grants-six")
	w.pod("user", "grants-six", "s")
	key := client.ObjectKey{Namespace: w.ns, Name: plan.RoleName("grants-six")}
	var role rbacv1.Role
	var binding rbacv1.RoleBinding
	testenv.Eventually(t, func() string {
		if w.admin.Get(t.Context(), key, &role) != nil || w.admin.Get(t.Context(), key, &binding) != nil {
			return "nothing is granted"
		}
		return ""
	})
	people := w.writer()
	const mine = "the manager's alone"
	me := rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "me"}
	bind := func(name, role string) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role}, Subjects: []rbacv1.Subject{me}}
	}
	update := func(o client.Object, change func()) func(client.Client) error {
		return func(c client.Client) error { change(); return c.Update(t.Context(), o, client.DryRunAll) }
	}
	create := func(o client.Object) func(client.Client) error {
		return func(c client.Client) error { return c.Create(t.Context(), o, client.DryRunAll) }
	}
	var own, others, changed, renamed, kept = role.DeepCopy(), binding.DeepCopy(), role.DeepCopy(), role.DeepCopy(), role.DeepCopy()
	for _, try := range []struct {
		what string
		do   func(client.Client) error
		who  client.Client
		want string
	}{
		{"an empty Role of such a name", create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: plan.RoleName("grants-seven")}}), people, mine},
		{"such a Role bound to people", create(bind("mine", key.Name)), w.admin, mine},
		{"a RoleBinding of such a name", create(bind(plan.RoleName("grants-seven"), "writer-of-"+w.ns)), w.admin, mine},
		{"one subject more", update(others, func() { others.Subjects = append(others.Subjects, me) }), w.admin, mine},
		{"one name more", update(changed, func() { changed.Rules[0].ResourceNames = append(changed.Rules[0].ResourceNames, "t") }), w.admin, mine},
		{"no name any more", update(own, func() { own.Rules = nil }), people, mine},
		{"without its label", update(renamed, func() { renamed.Labels = nil }), w.admin, mine},
		{"without its owner, as the garbage collector does", update(kept, func() { kept.OwnerReferences = nil }), w.admin, ""},
		{"a Role of another name", create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "theirs"}}), people, ""},
		{"another Role bound", create(bind("theirs", "writer-of-"+w.ns)), w.admin, ""},
	} {
		t.Run(try.what, func(t *testing.T) { judge(t, try.do(try.who), try.want) })
	}
}

// What somebody made before there was a policy does not become the manager's, and the manager says why a node reads nothing.
func TestRolesOfOthersAreLeftAlone(t *testing.T) {
	w := newGrantWorld(t)
	const policy = "grantees.miniplane.dev"
	does := func(action string) {
		w.must(w.admin.Patch(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: policy}},
			client.RawPatch(mergePatch, fmt.Appendf(nil, `{"spec":{"validationActions":[%q]}}`, action))))
	}
	does("Audit")
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: plan.RoleName("grants-eight")}}
	testenv.Eventually(t, func() string {
		if err := w.admin.Create(t.Context(), role); err != nil {
			return err.Error()
		}
		return ""
	})
	does("Deny")
	testenv.Eventually(t, func() string {
		another := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: plan.RoleName("another")}}
		if w.admin.Create(t.Context(), another, client.DryRunAll) == nil {
			return "the policy does not refuse again"
		}
		return ""
	})
	w.manager()
	w.node("grants-eight")
	w.pod("user", "grants-eight", "s")
	testenv.Eventually(t, func() string {
		if !w.hasLogged("delete it") {
			return "the manager does not say that a Role stands in its way"
		}
		return ""
	})
	w.must(w.admin.Get(t.Context(), client.ObjectKeyFromObject(role), role))
	if len(role.Rules) > 0 {
		t.Errorf("it was filled: %v", role.Rules)
	}
	w.must(w.admin.Delete(t.Context(), role))
	testenv.Eventually(t, func() string {
		got := &rbacv1.Role{}
		if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(role), got); err != nil || len(got.Rules) != 1 {
			return fmt.Sprintf("it is not made: %v", err)
		}
		return ""
	})
}

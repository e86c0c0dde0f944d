package api

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/grants"
	plan "miniplane.dev/miniplane/internal/grants"
	"miniplane.dev/miniplane/internal/index"
	agent "miniplane.dev/miniplane/nodeagent/grants"
	"miniplane.dev/miniplane/test/testenv"
)

const keep = 3 * time.Second

// grantWorld has a manager with its own rights and no more, and agents with theirs.
type grantWorld struct {
	*testing.T
	config *rest.Config
	admin  client.Client
	ns     string

	mu  sync.Mutex
	log strings.Builder // of the manager
}

func (w *grantWorld) logged(_, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log.WriteString(line + "\n")
}

func (w *grantWorld) hasLogged(words string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.log.String(), words)
}

func managerConfig(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:miniplane-system:miniplane-manager",
		Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	return config
}

func newGrantWorld(t *testing.T) *grantWorld {
	t.Helper()
	config, admin := testenv.Start(t)
	installRights(t, admin)
	if err := testenv.Apply(t.Context(), admin, filepath.Join(testenv.Root(), "config/rbac/manager.yaml")); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return &grantWorld{T: t, config: config, admin: admin, ns: testenv.Namespace(t, admin)}
}

func (w *grantWorld) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// manager runs the controller as the manager's ServiceAccount.
func (w *grantWorld) manager() (stop func()) {
	w.Helper()
	skip := true
	mgr, err := ctrl.NewManager(managerConfig(w.config), ctrl.Options{
		Scheme: testenv.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"}, Logger: funcr.New(w.logged, funcr.Options{}),
		Cache: cache.Options{ByObject: grants.ByObject()}, Controller: ctrlconfig.Controller{SkipNameValidation: &skip},
	})
	w.must(err)
	w.must(index.Setup(w.Context(), mgr.GetFieldIndexer()))
	w.must(grants.Setup(w.Context(), mgr, grants.Options{Keep: keep}))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stop = func() { cancel(); <-ended; ended <- nil }
	w.Cleanup(stop)
	if !mgr.GetCache().WaitForCacheSync(w.Context()) {
		w.Fatal("the manager's cache does not fill: it lacks rights")
	}
	return stop
}

// node makes a MiniNode, and gives its agent's client and its reader.
func (w *grantWorld) node(name string) (client.Client, *agent.Reader) {
	w.Helper()
	w.must(w.admin.Create(w.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	w.Cleanup(func() {
		_ = w.admin.Delete(context.Background(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
	config := rest.AnonymousClientConfig(w.config)
	config.BearerToken, config.QPS = podToken(w.T, w.admin, name), -1
	c := newClient(w.T, config)
	reader, err := agent.New(config, c, name, logr.Discard())
	w.must(err)
	return c, reader
}

func (w *grantWorld) secret(name string) {
	w.Helper()
	w.must(w.admin.Create(w.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, StringData: map[string]string{"key": name}}))
}

// pod makes a MiniPod on a node that pulls with a Secret.
func (w *grantWorld) pod(name, node, secret string) *miniv1.MiniPod {
	w.Helper()
	pod := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, Spec: miniv1.MiniPodSpec{
		ImagePullSecrets: []miniv1.LocalObjectReference{{Name: secret}}, Containers: []miniv1.Container{{Name: "c", Image: "i"}}}}
	w.must(w.admin.Create(w.Context(), pod))
	w.must(w.admin.Status().Patch(w.Context(), pod, client.RawPatch(mergePatch, fmt.Appendf(nil, `{"status":{"nodeName":%q}}`, node))))
	return pod
}

func (w *grantWorld) read(r *agent.Reader, name string, within time.Duration) (time.Duration, error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	begin := time.Now()
	var secret corev1.Secret
	err := r.Get(ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &secret)
	if err == nil && string(secret.Data["key"]) != name {
		err = fmt.Errorf("it read %v", secret.Data)
	}
	return time.Since(begin), err
}

const soon = 700 * time.Millisecond

// An agent reads what its MiniPods use, when they use it, and never what another's do.
func TestNodesReadWhatTheirMiniPodsUse(t *testing.T) {
	w := newGrantWorld(t)
	stop := w.manager()
	ownClient, one := w.node("grants-one")
	_, two := w.node("grants-two")
	for _, name := range []string{"ones", "twos", "nobodys", "later"} {
		w.secret(name)
	}
	pod := w.pod("one", "grants-one", "ones")
	first, err := w.read(one, "ones", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w.pod("two", "grants-two", "twos")
	if _, err := w.read(two, "twos", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	account := boundPod(t, w.admin, w.ns, "account", "", func(p *miniv1.MiniPod) { p.Finalizers = nil })
	w.secret("accounts")
	w.must(w.admin.Status().Patch(t.Context(), account, client.RawPatch(mergePatch, []byte(`{"status":{"nodeName":"grants-two","imagePullSecrets":[{"name":"accounts"}]}}`))))
	if _, err := w.read(two, "accounts", 20*time.Second); err != nil {
		t.Fatal("what the ServiceAccount names:", err)
	}
	again, err := w.read(one, "ones", soon)
	if err != nil {
		t.Fatal(err)
	}
	w.pod("more", "grants-one", "later")
	more, err := w.read(one, "later", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the first read of a node in a namespace took %s with token and grant, one with a grant to wait for %s, one that is granted %s", first, more, again)
	for _, name := range []string{"twos", "nobodys", "missing"} {
		if _, err := w.read(one, name, soon); err == nil || apierrors.IsNotFound(err) {
			t.Errorf("one may read %s: %v", name, err)
		}
	}
	if err := ownClient.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "ones"}, &corev1.Secret{}); !apierrors.IsForbidden(err) {
		t.Errorf("with its own credential the agent reads Secrets: %v", err)
	}
	stop() // what was granted stays while no manager works
	if _, err := w.read(one, "ones", soon); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	w.manager()
	w.must(w.admin.Delete(t.Context(), pod))
	testenv.Eventually(t, func() string {
		if _, err := w.read(one, "ones", soon); err == nil {
			return "the right is still there"
		}
		return ""
	})
	if _, err := w.read(one, "later", soon); err != nil {
		t.Errorf("the other right went too: %v", err)
	}
	w.must(w.admin.DeleteAllOf(t.Context(), &miniv1.MiniPod{}, client.InNamespace(w.ns)))
	testenv.Eventually(t, func() string {
		var roles rbacv1.RoleList
		var bindings rbacv1.RoleBindingList
		w.must(w.admin.List(t.Context(), &roles, client.InNamespace(w.ns)))
		w.must(w.admin.List(t.Context(), &bindings, client.InNamespace(w.ns)))
		if n := len(roles.Items) + len(bindings.Items); n > 0 {
			return fmt.Sprintf("%d Roles and RoleBindings are left", n)
		}
		return ""
	})
}

// MiniPods that use nothing cost no write; what somebody deleted is made again; a node that is gone has no rights.
func TestGrantsAreWhatIsUsed(t *testing.T) {
	w := newGrantWorld(t)
	w.manager()
	w.node("grants-three")
	plain := boundPod(t, w.admin, w.ns, "plain", "grants-three")
	w.pod("user", "grants-three", "s")
	var role rbacv1.Role
	key := client.ObjectKey{Namespace: w.ns, Name: plan.RoleName("grants-three")}
	lists := func(want int) func() string {
		return func() string {
			role = rbacv1.Role{}
			_ = w.admin.Get(t.Context(), key, &role)
			if got := plan.Granted(&role); len(got) != want {
				return fmt.Sprintf("granted is %v, want %d", got, want)
			}
			return ""
		}
	}
	testenv.Eventually(t, lists(1))
	for _, o := range []client.Object{&role, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}} {
		gone := o.GetUID()
		w.must(w.admin.Delete(t.Context(), o))
		testenv.Eventually(t, func() string {
			if err := w.admin.Get(t.Context(), key, o); err != nil || o.GetUID() == gone {
				return "what somebody deleted is not made again"
			}
			return ""
		})
	}
	testenv.Eventually(t, lists(1))
	before := role.ResourceVersion
	w.must(w.admin.Status().Patch(t.Context(), plain, client.RawPatch(mergePatch, []byte(`{"status":{"phase":"Running"}}`))))
	w.pod("same", "grants-three", "s")
	testenv.Never(t, soon, func() string {
		_ = w.admin.Get(t.Context(), key, &role)
		if role.ResourceVersion != before {
			return "a MiniPod that uses nothing new cost a write"
		}
		return ""
	})
	w.must(w.admin.DeleteAllOf(t.Context(), &miniv1.MiniPod{}, client.InNamespace(w.ns)))
	w.must(w.admin.Delete(t.Context(), &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "grants-three"}}))
	testenv.Eventually(t, lists(0))
}

// The identity of a node is given to that node's agent, and for an hour.
func TestTokensOfNodes(t *testing.T) {
	w := newGrantWorld(t)
	four, _ := w.node("grants-four")
	for _, name := range []string{"grants-four", "grants-five", "default"} {
		err := w.admin.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.NodesNamespace, Name: name}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	long, hour := int64(86400), int64(3600)
	bound := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: "x", UID: uidOf}
	for _, try := range []struct {
		what, namespace, name string
		spec                  authenticationv1.TokenRequestSpec
		want                  string
	}{
		{"its own", miniv1.NodesNamespace, "grants-four", authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}, ""},
		{"its own for a day", miniv1.NodesNamespace, "grants-four", authenticationv1.TokenRequestSpec{ExpirationSeconds: &long}, "for an hour at most"},
		{"its own, bound", miniv1.NodesNamespace, "grants-four", authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour, BoundObjectRef: bound}, "bound"},
		{"another node's", miniv1.NodesNamespace, "grants-five", authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}, onlyItsName},
		{"of no node", miniv1.NodesNamespace, "default", authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}, onlyItsName},
		{"the manager's", miniv1.SystemNamespace, "miniplane-manager", authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}, noRight + "create"},
		{"the agents'", miniv1.SystemNamespace, "miniplane-agent", authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}, noRight + "create"},
	} {
		t.Run(try.what, func(t *testing.T) {
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: try.namespace, Name: try.name}}
			judge(t, four.SubResource("token").Create(t.Context(), account, &authenticationv1.TokenRequest{Spec: try.spec}), try.want)
		})
	}
}

var someNode = plan.Node{Name: "n", UID: uidOf}

// The manager may give what it does not have, but nothing else than this.
func TestManagerGrantsOnlyReads(t *testing.T) {
	w := newGrantWorld(t)
	manager := newClient(t, managerConfig(w.config))
	role := func(change func(*rbacv1.Role)) *rbacv1.Role {
		out := someNode.Role(w.ns, []plan.Reference{{Resource: plan.Secrets, Name: "s"}})
		change(out)
		return out
	}
	binding := func(change func(*rbacv1.RoleBinding)) *rbacv1.RoleBinding {
		out := someNode.Binding(w.ns)
		change(out)
		return out
	}
	const reads, given, ours = "to get Secrets and ConfigMaps by their names", "to that node's ServiceAccount", "called miniplane:node:NODE"
	for _, try := range []struct {
		what   string
		object client.Object
		want   string
	}{
		{"a Role as it should be", role(func(*rbacv1.Role) {}), ""},
		{"a RoleBinding as it should be", binding(func(*rbacv1.RoleBinding) {}), ""},
		{"all Secrets", role(func(r *rbacv1.Role) { r.Rules[0].ResourceNames = nil }), reads},
		{"tokens of one account", role(func(r *rbacv1.Role) {
			r.Rules[0].Verbs, r.Rules[0].Resources = []string{"create"}, []string{"serviceaccounts/token"}
		}), ""},
		{"tokens of all accounts", role(func(r *rbacv1.Role) {
			r.Rules[0].Verbs, r.Rules[0].Resources, r.Rules[0].ResourceNames = []string{"create"}, []string{"serviceaccounts/token"}, nil
		}), reads},
		{"tokens of nodes", role(func(r *rbacv1.Role) {
			r.Namespace, r.Rules[0].Verbs, r.Rules[0].Resources = miniv1.NodesNamespace, []string{"create"}, []string{"serviceaccounts/token"}
		}), reads},
		{"tokens of its own programs", role(func(r *rbacv1.Role) {
			r.Namespace, r.Rules[0].Verbs, r.Rules[0].Resources = miniv1.SystemNamespace, []string{"create"}, []string{"serviceaccounts/token"}
		}), reads},
		{"to make Secrets", role(func(r *rbacv1.Role) { r.Rules[0].Verbs = []string{"create"} }), reads},
		{"to list", role(func(r *rbacv1.Role) { r.Rules[0].Verbs = []string{"get", "list"} }), reads},
		{"to write", role(func(r *rbacv1.Role) { r.Rules[0].Verbs = []string{"update"} }), reads},
		{"everything", role(func(r *rbacv1.Role) { r.Rules[0].Verbs, r.Rules[0].Resources = []string{"*"}, []string{"*"} }), reads},
		{"Pods", role(func(r *rbacv1.Role) { r.Rules[0].Resources = []string{"pods"} }), reads},
		{"of another group", role(func(r *rbacv1.Role) { r.Rules[0].APIGroups = []string{"apps"} }), reads},
		{"a Role of another name", role(func(r *rbacv1.Role) { r.Name = "admin" }), ours},
		{"a Role without label", role(func(r *rbacv1.Role) { r.Labels = nil }), ours},
		{"to itself", binding(func(b *rbacv1.RoleBinding) {
			b.Subjects[0].Namespace, b.Subjects[0].Name = miniv1.SystemNamespace, "miniplane-manager"
		}), given},
		{"to a user", binding(func(b *rbacv1.RoleBinding) {
			b.Subjects[0] = rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "n"}
		}), given},
		{"to another node", binding(func(b *rbacv1.RoleBinding) { b.Subjects[0].Name = "m" }), given},
		{"to two", binding(func(b *rbacv1.RoleBinding) { b.Subjects = append(b.Subjects, b.Subjects[0]) }), "only the agents' own"},
		{"a role of people", binding(func(b *rbacv1.RoleBinding) { b.RoleRef.Name = "admin" }), given},
		{"a ClusterRole", binding(func(b *rbacv1.RoleBinding) { b.RoleRef.Kind, b.RoleRef.Name = "ClusterRole", "cluster-admin" }), "orbidden"},
		{"to an old agent too", (&plan.Node{Name: "n", UID: uidOf, AgentIsOld: true}).Binding(w.ns), ""},
		{"to everybody too", binding(func(b *rbacv1.RoleBinding) {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:authenticated"})
		}), "only the agents' own"},
		{"to itself too", binding(func(b *rbacv1.RoleBinding) {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "ServiceAccount", Namespace: miniv1.SystemNamespace, Name: "miniplane-manager"})
		}), "only the agents' own"},
		{"to three", binding(func(b *rbacv1.RoleBinding) { b.Subjects = append(b.Subjects, b.Subjects[0], b.Subjects[0]) }), given},
		{"to nobody", binding(func(b *rbacv1.RoleBinding) { b.Subjects = nil }), given},
		{"a ServiceAccount elsewhere", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "x"}}, noRight},
		{"a right for the whole cluster", &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, noRight},
	} {
		t.Run(try.what, func(t *testing.T) { judge(t, manager.Create(t.Context(), try.object, client.DryRunAll), try.want) })
	}
	foreign := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "people"}}
	w.must(w.admin.Create(t.Context(), foreign))
	t.Run("a Role of people goes", func(t *testing.T) { judge(t, manager.Delete(t.Context(), foreign.DeepCopy()), ours) })
	t.Run("a Role of people becomes one of its own", func(t *testing.T) {
		taken := foreign.DeepCopy()
		taken.Labels = map[string]string{miniv1.GrantLabel: "true"}
		judge(t, manager.Update(t.Context(), taken), ours)
	})
	t.Run("reading Secrets itself", func(t *testing.T) {
		judge(t, manager.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "s"}, &corev1.Secret{}), noRight+"get")
	})
}

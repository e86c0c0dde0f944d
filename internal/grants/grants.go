// Package grants decides which Secrets and ConfigMaps the agent of a node may read, and of which ServiceAccounts it may have tokens.
//
// Idea. References is the one place that knows where a MiniPod names a Secret, a ConfigMap or a ServiceAccount. A node may have what the
// MiniPods that are bound to it name, and nothing else: in each namespace one Role for the node, which lists the names, and one
// RoleBinding for the node's own ServiceAccount. So a node costs two objects in a namespace, however many MiniPods it runs there, and a
// MiniPod that names nothing, or what another there names already, costs no write.
//
// What makes it hard is that a right which comes late delays a start, and one that goes early would come back a moment later, when a
// rollout replaces a MiniPod by its like: what is no longer used is kept for a while, and what is new is added at once. And that agents
// of an older version read in a name that all of them share: they are given rights too, for what their own nodes use.
package grants

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

// Kinds of references, as RBAC calls them.
const (
	Secrets    = "secrets"
	ConfigMaps = "configmaps"
	// Tokens are those of ServiceAccounts.
	Tokens = "serviceaccounts/token"
)

// Reference is what a MiniPod uses of its namespace.
type Reference struct {
	Resource, Name string
	// Watch says that who uses it hears when it changes, or comes.
	Watch bool
}

// References are all Secrets, ConfigMaps and tokens that a MiniPod uses, in order and each once.
func References(pod *miniv1.MiniPod) []Reference {
	var out []Reference
	pod = pod.WithAPIAccess()
	for _, secret := range pod.PullSecrets() {
		out = append(out, Reference{Resource: Secrets, Name: secret.Name})
	}
	out = append(out, OfVolumes(&pod.Spec)...)
	for _, c := range pod.Spec.AllContainers() {
		out = append(out, OfContainer(c)...)
	}
	return sorted(out)
}

// OfVolume are the Secrets and ConfigMaps whose files a volume has; its tokens are not among them, as they are no objects that can be read.
func OfVolume(v *miniv1.Volume) []Reference {
	var out []Reference
	if v.ConfigMap != nil {
		out = append(out, Reference{ConfigMaps, v.ConfigMap.Name, true})
	}
	if v.Secret != nil {
		out = append(out, Reference{Secrets, v.Secret.SecretName, true})
	}
	if v.Projected == nil {
		return out
	}
	for i := range v.Projected.Sources {
		if source := v.Projected.Sources[i].ConfigMap; source != nil {
			out = append(out, Reference{ConfigMaps, source.Name, true})
		}
		if source := v.Projected.Sources[i].Secret; source != nil {
			out = append(out, Reference{Secrets, source.Name, true})
		}
	}
	return sorted(out)
}

// OfVolumes are those of all volumes of a MiniPod, and the ServiceAccount of their tokens.
func OfVolumes(spec *miniv1.MiniPodSpec) []Reference {
	var out []Reference
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if out = append(out, OfVolume(v)...); v.HasTokens() {
			out = append(out, Reference{Resource: Tokens, Name: spec.ServiceAccount()})
		}
	}
	return sorted(out)
}

// OfContainer are the Secrets and ConfigMaps that the variables of a container come from.
func OfContainer(c *miniv1.Container) []Reference {
	var out []Reference
	for i := range c.EnvFrom {
		if from := c.EnvFrom[i].ConfigMapRef; from != nil {
			out = append(out, Reference{ConfigMaps, from.Name, true})
		}
		if from := c.EnvFrom[i].SecretRef; from != nil {
			out = append(out, Reference{Secrets, from.Name, true})
		}
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from != nil && from.ConfigMapKeyRef != nil {
			out = append(out, Reference{ConfigMaps, from.ConfigMapKeyRef.Name, true})
		}
		if from != nil && from.SecretKeyRef != nil {
			out = append(out, Reference{Secrets, from.SecretKeyRef.Name, true})
		}
	}
	return sorted(out)
}

// Used are the references of those MiniPods that run or will. One that is being deleted starts nothing any more, so that an agent
// that does not let go of it keeps no right by that.
func Used(pods []*miniv1.MiniPod) []Reference {
	var out []Reference
	for _, pod := range pods {
		if !podstate.IsDeleting(pod) && !podstate.IsFinished(pod) {
			out = append(out, References(pod)...)
		}
	}
	return sorted(out)
}

// sorted has each object once, watched if anybody watches it. What has no name is none.
func sorted(refs []Reference) []Reference {
	refs = slices.DeleteFunc(refs, func(r Reference) bool { return r.Name == "" })
	slices.SortFunc(refs, func(a, b Reference) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Name, b.Name), cmp.Compare(number(b.Watch), number(a.Watch)))
	})
	return slices.CompactFunc(refs, func(a, b Reference) bool { return a.Resource == b.Resource && a.Name == b.Name })
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Unused remembers since when each reference that a node may read has not been used.
type Unused map[Reference]time.Time

// Plan is what a node may read from now on: what it uses, and what it may read already and has used within the last keep. Again is
// when the first of the latter ends; zero for never.
func Plan(used, granted []Reference, unused Unused, now time.Time, keep time.Duration) (want []Reference, again time.Time) {
	want = slices.Clone(used)
	uses, has := setOf(used), setOf(granted) // which can be very many: what a tenant names is his to choose
	for ref := range maps.Keys(unused) {
		if uses[ref] || !has[ref] {
			delete(unused, ref)
		}
	}
	for _, ref := range granted {
		if uses[ref] {
			continue
		}
		since, known := unused[ref]
		if !known {
			since, unused[ref] = now, now
		}
		if ends := since.Add(keep); now.Before(ends) {
			want = append(want, ref)
			if again.IsZero() || ends.Before(again) {
				again = ends
			}
		}
	}
	return sorted(want), again
}

func setOf(refs []Reference) map[Reference]bool {
	out := make(map[Reference]bool, len(refs))
	for _, ref := range refs {
		out[ref] = true
	}
	return out
}

// Verbs of rights.
const get, watch, create = "get", "watch", "create"

const (
	prefix = "miniplane:node:"
	// agentAccount is the ServiceAccount of all agents, in the system's namespace.
	agentAccount = "miniplane-agent"
)

// RoleName is the name of a node's Role, and of its RoleBinding, in every namespace.
func RoleName(node string) string { return prefix + node }

// NodeOf is the node of a Role or RoleBinding by its name.
func NodeOf(name string) (node string, ok bool) { return strings.CutPrefix(name, prefix) }

// Node is whose agent may read.
type Node struct {
	Name string
	UID  types.UID
	// AgentIsOld says that the node's agent is of a version that reads Secrets in its own name, which all agents share.
	AgentIsOld bool
}

// Of tells what matters here of a MiniNode. One whose agent has said nothing yet has none that could read.
func Of(node *miniv1.MiniNode) Node {
	info := &node.Status.NodeInfo
	return Node{Name: node.Name, UID: node.UID, AgentIsOld: info.AgentVersion != "" && info.ReadsAsNode != info.AgentVersion}
}

// meta has the MiniNode as the owner, so that what a node may read goes with it, and with the kind.
func (n Node) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{miniv1.GrantLabel: "true"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: miniv1.GroupVersion.String(), Kind: "MiniNode", Name: n.Name, UID: n.UID}},
	}
}

// Account is the ServiceAccount in whose name the node's agent reads.
func (n Node) Account() *corev1.ServiceAccount {
	no := false
	return &corev1.ServiceAccount{ObjectMeta: n.meta(miniv1.NodesNamespace, n.Name), AutomountServiceAccountToken: &no}
}

// own are the namespaces of miniplane itself, whose accounts are for its programs and for nodes: no MiniPod has a token of one.
var own = []string{miniv1.SystemNamespace, miniv1.NodesNamespace}

// Role lets its holder get these, watch those of them that are watched, ask for tokens, and nothing else.
func (n Node) Role(namespace string, refs []Reference) *rbacv1.Role {
	role := &rbacv1.Role{ObjectMeta: n.meta(namespace, RoleName(n.Name))}
	rule := func(verb, resource string, names []string) {
		if len(names) > 0 {
			role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: names, Verbs: []string{verb}})
		}
	}
	for _, resource := range []string{ConfigMaps, Secrets} {
		var all, watched []string
		for _, ref := range refs {
			if ref.Resource != resource {
				continue
			}
			if all = append(all, ref.Name); ref.Watch {
				watched = append(watched, ref.Name)
			}
		}
		rule(get, resource, all)
		rule(watch, resource, watched)
	}
	if !slices.Contains(own, namespace) {
		rule(create, Tokens, namesOf(refs, Tokens))
	}
	return role
}

func namesOf(refs []Reference, resource string) []string {
	var out []string
	for _, ref := range refs {
		if ref.Resource == resource {
			out = append(out, ref.Name)
		}
	}
	return out
}

// Granted are the references that a Role lists.
func Granted(role *rbacv1.Role) []Reference {
	var out []Reference
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, name := range rule.ResourceNames {
				out = append(out, Reference{resource, name, slices.Contains(rule.Verbs, watch)})
			}
		}
	}
	return sorted(out)
}

// Binding gives the node's ServiceAccount the Role, and all agents too while the node's own is old: that is less than they could read when
// that version was made, and a node that lies about its version shows others what is its own.
func (n Node) Binding(namespace string) *rbacv1.RoleBinding {
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: miniv1.NodesNamespace, Name: n.Name}}
	if n.AgentIsOld {
		subjects = append(subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: miniv1.SystemNamespace, Name: agentAccount})
	}
	return &rbacv1.RoleBinding{
		ObjectMeta: n.meta(namespace, RoleName(n.Name)),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: RoleName(n.Name)},
		Subjects:   subjects,
	}
}

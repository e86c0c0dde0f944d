package grants

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// filler writes a name of its own into every reference of a spec, wherever it stands.
type filler struct{ names []string }

// isReference knows the types in which core/v1 and this API name a Secret or a ConfigMap by their names.
func isReference(t reflect.Type) bool {
	name := t.Name()
	return t.Kind() == reflect.Struct && (name == "LocalObjectReference" || strings.Contains(name, "Secret") || strings.Contains(name, "ConfigMap"))
}

func (f *filler) fill(v reflect.Value, depth int) {
	if depth > 12 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(v.Index(0), depth+1)
	case reflect.Struct:
		if isReference(v.Type()) {
			for _, field := range []string{"Name", "SecretName"} {
				if name := v.FieldByName(field); name.IsValid() && name.Kind() == reflect.String {
					name.SetString(fmt.Sprintf("ref-%d", len(f.names)))
					f.names = append(f.names, name.String())
				}
			}
		}
		for _, field := range v.Fields() {
			if !isReference(v.Type()) || field.Kind() != reflect.String {
				f.fill(field, depth+1)
			}
		}
	}
}

// Whoever adds a field that names a Secret or a ConfigMap has to tell References, or no agent could read it.
func TestReferencesKnowsEveryField(t *testing.T) {
	f := &filler{}
	var all miniv1.MiniPod
	f.fill(reflect.ValueOf(&all.Spec).Elem(), 0)
	if len(f.names) == 0 {
		t.Fatal("no reference was found in the type: this test does not see them any more")
	}
	var got []string
	for _, ref := range References(&all) {
		if ref.Resource != Tokens { // an account is not named where its token is asked for
			got = append(got, ref.Name)
		}
	}
	slices.Sort(got)
	slices.Sort(f.names)
	if diff := cmp.Diff(f.names, got); diff != "" {
		t.Errorf("references of a spec with all fields (-in the type +found):\n%s", diff)
	}
}

func pod(change func(*miniv1.MiniPod), names ...string) *miniv1.MiniPod {
	pod := &miniv1.MiniPod{}
	for _, name := range names {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, miniv1.LocalObjectReference{Name: name})
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func secrets(names ...string) []Reference {
	var out []Reference
	for _, name := range names {
		out = append(out, Reference{Resource: Secrets, Name: name})
	}
	return out
}

// Pull secrets of the ServiceAccount are read like those of the spec, and only where the spec names none.
func TestPullSecretsOfTheAccount(t *testing.T) {
	account := func(p *miniv1.MiniPod) { p.Status.ImagePullSecrets = []miniv1.LocalObjectReference{{Name: "its"}} }
	for want, its := range map[string]*miniv1.MiniPod{"its": pod(account), "mine": pod(account, "mine")} {
		if diff := cmp.Diff(secrets(want), References(its)); diff != "" {
			t.Errorf("references (-want +got):\n%s", diff)
		}
	}
}

func TestUsed(t *testing.T) {
	now := metav1.Now()
	got := Used([]*miniv1.MiniPod{
		pod(nil, "b", "a"), pod(nil, "a"), pod(nil, ""), pod(nil),
		pod(func(p *miniv1.MiniPod) { p.DeletionTimestamp = &now }, "deleted"),
		pod(func(p *miniv1.MiniPod) { p.Status.Phase = miniv1.PodSucceeded }, "succeeded"),
		pod(func(p *miniv1.MiniPod) { p.Status.Phase = miniv1.PodFailed }, "failed"),
	})
	if diff := cmp.Diff(secrets("a", "b"), got); diff != "" {
		t.Errorf("used (-want +got):\n%s", diff)
	}
}

// A right comes at once, stays a while after its last use, and goes.
func TestPlanHistory(t *testing.T) {
	const keep = 5 * time.Minute
	t0 := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	unused, granted := Unused{}, []Reference(nil)
	for _, step := range []struct {
		at    time.Duration
		used  []Reference
		want  []Reference
		again time.Duration // 0 for never
	}{
		{0, secrets("a"), secrets("a"), 0},
		{time.Minute, secrets("a", "b"), secrets("a", "b"), 0},
		{2 * time.Minute, secrets("b"), secrets("a", "b"), 7 * time.Minute},
		{3 * time.Minute, nil, secrets("a", "b"), 7 * time.Minute},
		{4 * time.Minute, secrets("a"), secrets("a", "b"), 8 * time.Minute},
		{8 * time.Minute, secrets("a"), secrets("a"), 0},
		{9 * time.Minute, nil, secrets("a"), 14 * time.Minute},
		{14 * time.Minute, nil, nil, 0},
	} {
		want, again := Plan(step.used, granted, unused, t0.Add(step.at), keep)
		if diff := cmp.Diff(step.want, want); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.at, diff)
		}
		if step.again == 0 != again.IsZero() || step.again != 0 && !again.Equal(t0.Add(step.again)) {
			t.Errorf("after %s: again at %s, want %s", step.at, again.Sub(t0), step.again)
		}
		granted = want
	}
	if want, _ := Plan(nil, secrets("a"), Unused{}, t0, 0); len(want) != 0 {
		t.Errorf("of a node that is gone stays %v", want)
	}
}

// TestPlanOfMany: whoever names very many objects keeps nobody else waiting for his rights.
func TestPlanOfMany(t *testing.T) {
	many := func(what string) (out []Reference) {
		for i := range 60_000 {
			out = append(out, Reference{Resource: ConfigMaps, Name: fmt.Sprintf("%s-%06d", what, i), Watch: true})
		}
		return out
	}
	begin := time.Now()
	want, _ := Plan(many("used"), many("kept"), Unused{}, begin, time.Hour)
	if took := time.Since(begin); len(want) != 120_000 || took > 5*time.Second {
		t.Errorf("%d rights after %s", len(want), took)
	}
}

func TestRoleSaysWhatIsGranted(t *testing.T) {
	refs := []Reference{{ConfigMaps, "c", true}, {Secrets, "a", true}, {Secrets, "b", false}}
	n := Node{Name: "n.example", UID: "u"}
	role, binding := n.Role("ns", refs), n.Binding("ns")
	if diff := cmp.Diff(refs, Granted(role)); diff != "" {
		t.Errorf("granted (-want +got):\n%s", diff)
	}
	if node, ok := NodeOf(role.Name); !ok || node != "n.example" || binding.RoleRef.Name != role.Name || binding.Name != role.Name {
		t.Errorf("role %s is of node %q", role.Name, node)
	}
	for _, o := range []metav1.Object{role, binding, n.Account()} {
		if owners := o.GetOwnerReferences(); len(owners) != 1 || owners[0].UID != "u" || owners[0].Kind != "MiniNode" || owners[0].Name != "n.example" {
			t.Errorf("%T: it goes with %v, and not with the MiniNode", o, owners)
		}
	}
}

// Agents of a version that reads in its own name are given what their nodes use, and no other is.
func TestOldAgents(t *testing.T) {
	for _, try := range []struct {
		what           string
		agent, reading string
		want           []string
	}{
		{"nothing said yet", "", "", []string{"miniplane-nodes/n"}},
		{"of today", "v2", "v2", []string{"miniplane-nodes/n"}},
		{"older than that", "v1", "", []string{"miniplane-nodes/n", "miniplane-system/miniplane-agent"}},
		{"rolled back", "v1", "v2", []string{"miniplane-nodes/n", "miniplane-system/miniplane-agent"}},
	} {
		node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		node.Status.NodeInfo = miniv1.MiniNodeInfo{AgentVersion: try.agent, ReadsAsNode: try.reading}
		var got []string
		for _, subject := range Of(node).Binding("ns").Subjects {
			got = append(got, subject.Namespace+"/"+subject.Name)
		}
		if diff := cmp.Diff(try.want, got); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", try.what, diff)
		}
	}
}

// Whatever tenants write as names: a Role lets its holder get what was named and nothing else, and is never one for all names, which
// a rule without names would be; and what it grants is what was asked for, so that it is not written again and again.
func FuzzRole(f *testing.F) {
	for _, name := range []string{"a", "", "*", "../x", "a,b", "a\x00b", "a\nb", " ", "secrets", "miniplane:node:n", strings.Repeat("a", 300)} {
		f.Add(name, "b", "n")
	}
	f.Fuzz(func(t *testing.T, first, second, node string) {
		used := Used([]*miniv1.MiniPod{pod(nil, first, second), pod(nil, second)})
		want, _ := Plan(used, nil, Unused{}, time.Unix(0, 0), time.Minute)
		role := Node{Name: node, UID: "u"}.Role("ns", want)
		for _, rule := range role.Rules {
			if !slices.Equal(rule.Verbs, []string{"get"}) && !slices.Equal(rule.Verbs, []string{"watch"}) || !slices.Equal(rule.APIGroups, []string{""}) || len(rule.NonResourceURLs) > 0 ||
				len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, "") || !slices.Equal(rule.Resources, []string{Secrets}) {
				t.Errorf("%q, %q: rule %+v", first, second, rule)
			}
			for _, name := range rule.ResourceNames {
				if name != first && name != second {
					t.Errorf("%q, %q: grants %q", first, second, name)
				}
			}
		}
		if diff := cmp.Diff(want, Granted(role)); diff != "" {
			t.Errorf("granted (-want +got):\n%s", diff)
		}
		if now, ok := NodeOf(role.Name); !ok || now != node {
			t.Errorf("the Role of %q is taken for that of %q", node, now)
		}
	})
}

// A node asks for tokens of the account of a MiniPod that has a volume with one, and of none in the namespaces of miniplane itself.
func TestTokens(t *testing.T) {
	token := miniv1.Volume{Projected: &miniv1.ProjectedVolumeSource{Sources: []miniv1.VolumeProjection{
		{Secret: &miniv1.SecretProjection{Name: "s"}}, {ServiceAccountToken: &miniv1.ServiceAccountTokenProjection{}}}}}
	for name, c := range map[string]struct {
		spec miniv1.MiniPodSpec
		want []Reference
	}{
		"no volume":   {miniv1.MiniPodSpec{ServiceAccountName: "robot"}, nil},
		"an account":  {miniv1.MiniPodSpec{ServiceAccountName: "robot", DeprecatedServiceAccount: "other", Volumes: []miniv1.Volume{token}}, []Reference{{Secrets, "s", true}, {Tokens, "robot", false}}},
		"older name":  {miniv1.MiniPodSpec{DeprecatedServiceAccount: "other", Volumes: []miniv1.Volume{token}}, []Reference{{Secrets, "s", true}, {Tokens, "other", false}}},
		"asked for":   {miniv1.MiniPodSpec{ServiceAccountName: "robot", AutomountServiceAccountToken: new(true), Containers: []miniv1.Container{{Name: "a"}}}, []Reference{{ConfigMaps, "kube-root-ca.crt", true}, {Tokens, "robot", false}}},
		"not wanted":  {miniv1.MiniPodSpec{ServiceAccountName: "robot", AutomountServiceAccountToken: new(false), Containers: []miniv1.Container{{Name: "a"}}}, nil},
		"the default": {miniv1.MiniPodSpec{Volumes: []miniv1.Volume{token, token}}, []Reference{{Secrets, "s", true}, {Tokens, "default", false}}},
	} {
		got := References(&miniv1.MiniPod{Spec: c.spec})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		n := Node{Name: "n"}
		if diff := cmp.Diff(c.want, Granted(n.Role("ns", got))); diff != "" {
			t.Errorf("%s, granted (-want +got):\n%s", name, diff)
		}
		for _, namespace := range own {
			if slices.ContainsFunc(Granted(n.Role(namespace, got)), func(r Reference) bool { return r.Resource == Tokens }) {
				t.Errorf("%s: tokens of %s", name, namespace)
			}
		}
	}
}

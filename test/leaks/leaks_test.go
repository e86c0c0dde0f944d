package leaks

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

func TestLeft(t *testing.T) {
	before := Parse("link mini1\ncgroup /a\n\n  cgroup /a\n")
	for _, test := range []struct {
		name, after string
		want        []string
	}{
		{"nothing changed", "cgroup /a\nlink mini1", nil},
		{"something went", "cgroup /a", nil},
		{"one is left", "cgroup /a\nlink mini1\nlink mini2", []string{"link mini2"}},
		{"one went and one is left: the number is the same", "cgroup /b\nlink mini1", []string{"cgroup /b"}},
	} {
		if diff := cmp.Diff(test.want, Left(before, Parse(test.after))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// A containerd that does not answer is not one that has nothing.
func TestScriptFailsWhereItCannotLook(t *testing.T) {
	p := Installed()
	p.Containerd = "/nowhere/containerd.sock"
	out, err := exec.Command("sh", "-c", p.Script()).CombinedOutput()
	if err == nil {
		t.Errorf("the script is content without a containerd: %s", out)
	}
}

// Every kind of thing is seen. The programs of a node are played by others that print what these would.
func TestScriptSees(t *testing.T) {
	dir := t.TempDir()
	state := dir + "/state"
	programs := `
ctr() { case "$*" in *containers*) echo c1;; *snapshots*) printf 'KEY PARENT KIND\ns1 p Active\ns0 - Committed\n';; *leases*) echo l1;; esac; }
ip() { case "$*" in *link*) echo '7: mini42@if2: <UP>'; echo '8: eth0: <UP>'; echo '9: mini-vxlan: <UP>';; *) echo '100.64.0.7 dev mini42'; echo 'default via 10.0.0.1';; esac; }
iptables-save() { echo ':MINI-SVC-ABC - [0:0]'; echo ':KUBE-SVC-X - [0:0]'; }
mkdir -p ` + state + `/records ` + dir + `/tasks/miniplane/b1 ` + dir + `/root; echo > ` + state + `/records/r1; echo > ` + dir + `/root/log1
`
	p := Places{Cgroup: "/no-such-cgroup", StateDir: state, RootDir: dir + "/root", Containerd: "x", Tasks: dir + "/tasks"}
	out, err := exec.Command("bash", "-c", programs+p.Script()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := []string{"bundle b1", "chain MINI-SVC-ABC", "container c1", "file " + dir + "/root/log1", "file " + state + "/records/r1",
		"lease l1", "link mini42", "route 100.64.0.7 dev mini42", "snapshot s1"}
	if diff := cmp.Diff(want, Parse(string(out))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestObjects(t *testing.T) {
	api := fake.NewClientBuilder().WithScheme(testenv.Scheme()).WithObjects(
		&miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "one"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "not-ours"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "s", Name: "agent-x", Labels: map[string]string{"app.kubernetes.io/component": "agent"}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "s", Name: "marker"}},
	).Build()
	got, err := Objects(t.Context(), api)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"object MiniPod a/one", "object Pod s/marker"}; !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

package leaks

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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

// programs of a node, played by others that print what these would.
const programs = `
ctr() { case "$*" in *containers*) echo c1;; *snapshots*) printf 'KEY PARENT KIND\ns1 p Active\ns2 p View\ns0 - Committed\n';; *leases*) printf 'l1\nminiplane-holder-uid\n';;
	*content*) printf 'REF\tSIZE\tAGE\nlayer-sha256:1\t7B\t2s\n';; esac; }
ip() { case "$*" in *link*) echo '7: mini42@if2: <UP>'; echo '8: eth0: <UP>'; echo '9: mini-vxlan: <UP>';; *) echo '100.64.0.7 dev mini42'; echo 'default via 10.0.0.1';; esac; }
iptables-save() { printf '*nat\n:MINI-SVC-ABC - [0:0]\n:KUBE-SVC-X - [0:0]\n-A MINI-SVC-ABC -d 100.64.0.7/32 -j ACCEPT\n-A KUBE-SVC-X -j MINI-SVC-ABC\n'; }
`

// look lists what the script sees, with the programs of a node played.
func look(t *testing.T, p Places, prepare string) []string {
	t.Helper()
	out, err := exec.Command("bash", "-c", programs+prepare+p.Script()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return Parse(string(out))
}

// Every kind of thing is seen that a program tells of, or that is in files.
func TestScriptSees(t *testing.T) {
	dir := t.TempDir()
	state, uid := dir+"/state", "0d4c5e0e-1111-4222-8333-444455556666"
	p := Places{Cgroup: "/no-such-cgroup", StateDir: state, RootDir: dir + "/root", Containerd: "x", Tasks: dir + "/tasks"}
	got := look(t, p, `
mkdir -p `+state+`/records `+state+`/sandboxes/`+uid+` `+dir+`/tasks/miniplane/b1 `+dir+`/root/volumes/`+uid+`/data; echo > `+state+`/records/r1; echo > `+dir+`/root/log1
`)
	got = slices.DeleteFunc(got, func(thing string) bool { return Kind(thing) == "namespace" }) // of agents that may run on this machine
	want := []string{"bundle b1", "chain MINI-SVC-ABC", "container c1", "directory " + state + "/sandboxes/" + uid, "file " + dir + "/root/log1", "file " + state + "/records/r1",
		"ingest layer-sha256:1", "lease l1", "lease miniplane-holder-uid", "link mini42", "route 100.64.0.7 dev mini42",
		"rule nat -A MINI-SVC-ABC -d 100.64.0.7/32 -j ACCEPT", "snapshot s1", "snapshot s2", "volume " + dir + "/root/volumes/" + uid}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// And every kind that is in the kernel: mounts, also the second one at a place, cgroups, processes, network namespaces that live because the agent has them open, and processes that ended and are not asked for.
func TestScriptSeesTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	p := Places{Cgroup: "/miniplane-leaks-" + strconv.Itoa(os.Getpid()), StateDir: dir + "/state", RootDir: dir + "/root", Containerd: "x", Tasks: dir + "/tasks"}
	before := look(t, p, "")
	prepare(t, p, dir)
	got := Left(before, look(t, p, ""))
	want := map[string]int{"mount": 3, "namespace": 1, "process": 3, "zombie": 1}
	kinds := map[string]int{}
	for _, thing := range got {
		kinds[Kind(thing)]++
	}
	if kinds["cgroup"] == 0 || !slices.Contains(got, "mount "+p.StateDir+"/volumes/twice times 2") {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	for kind, n := range want {
		if kinds[kind] != n {
			t.Errorf("%d of the kind %s, want %d:\n%s", kinds[kind], kind, n, strings.Join(got, "\n"))
		}
	}
}

// prepare leaves behind what a node's kernel can have.
func prepare(t *testing.T, p Places, dir string) {
	t.Helper()
	group := "/sys/fs/cgroup"
	if _, err := os.Stat(group + "/cgroup.controllers"); err != nil {
		group += "/pids"
	}
	group += p.Cgroup
	run := func(script string) {
		t.Helper()
		if out, err := exec.Command("bash", "-c", script).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Cleanup(func() {
		run("umount " + dir + "/state/volumes/twice " + dir + "/state/volumes/twice " + dir + "/root/once " + dir + "/tasks/miniplane/b1/rootfs")
	})
	run("mkdir -p " + dir + "/state/volumes/twice " + dir + "/root/once " + dir + "/tasks/miniplane/b1/rootfs " + group + "/podx/c; cp $(command -v bash) " + dir + "/nodeagent; mkfifo " + dir + "/fifo; touch " + dir + "/state/log")
	run("for at in state/volumes/twice state/volumes/twice root/once tasks/miniplane/b1/rootfs; do mount -t tmpfs x " + dir + "/$at; done")
	begin := func(name string, args ...string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command(name, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
		return cmd
	}
	t.Cleanup(func() { // when its process is gone, for this runs after what comes later
		for _, d := range []string{group + "/podx/c", group + "/podx", group} {
			if err := os.Remove(d); err != nil {
				t.Error(err)
			}
		}
	})
	inside := begin("sleep", "1000.25")
	if err := os.WriteFile(group+"/podx/c/cgroup.procs", []byte(strconv.Itoa(inside.Process.Pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	begin("tail", "-f", p.StateDir+"/log")
	begin(dir+"/nodeagent", "-c", "exec unshare -n "+dir+"/nodeagent -c 'exec 9</proc/self/ns/net; touch "+dir+"/open; read x <"+dir+"/fifo; :'")
	begin("env", "LEAKS_ZOMBIE="+dir+"/zombie", os.Args[0], p.StateDir+"/")
	appears(t, dir+"/open")
	appears(t, dir+"/zombie")
}

// appears waits for a file.
func appears(t *testing.T, path string) {
	t.Helper()
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatal(path, " does not appear")
}

// TestMain is also a program that does not ask for its child, which prepare runs.
func TestMain(m *testing.M) {
	if file := os.Getenv("LEAKS_ZOMBIE"); file != "" {
		panic(zombie(file))
	}
	os.Exit(m.Run())
}

// zombie leaves a child unasked for, and writes a file when it has ended.
func zombie(file string) error {
	child := exec.Command("true")
	if err := child.Start(); err != nil {
		return err
	}
	if err := unix.Waitid(unix.P_PID, child.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		return err
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	time.Sleep(time.Hour) // It is killed.
	return nil
}

func TestObjects(t *testing.T) {
	api := fake.NewClientBuilder().WithScheme(testenv.Scheme()).WithObjects(
		&miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "one"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "not-ours"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "s", Name: "agent-x", Labels: map[string]string{"app.kubernetes.io/component": "agent"}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "s", Name: "marker"}},
		&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "here"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.NodesNamespace, Name: "here", Labels: map[string]string{miniv1.GrantLabel: "true"}}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.NodesNamespace, Name: "gone", Labels: map[string]string{miniv1.GrantLabel: "true"}}},
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "right", Labels: map[string]string{miniv1.GrantLabel: "true"}}},
	).Build()
	got, err := Objects(t.Context(), api)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"grant Role a/right", "object MiniNode /here", "object MiniPod a/one", "object Pod s/marker", "object ServiceAccount miniplane-nodes/gone"}; !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

package podworker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/names"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/volumes"
	"miniplane.dev/miniplane/test/builders"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "B": "two", "EMPTY": ""}
	for in, want := range map[string]string{
		"":                "",
		"plain":           "plain",
		"$(A)":            "1",
		"x$(A)y$(B)z":     "x1ytwoz",
		"$(EMPTY)":        "",
		"$(UNKNOWN)":      "$(UNKNOWN)",
		"$$(A)":           "$(A)",
		"$$$(A)":          "$1",
		"$$$$(A)":         "$$(A)",
		"$A":              "$A",
		"$":               "$",
		"a$":              "a$",
		"$(A":             "$(A",
		"$(":              "$(",
		"$(A)$":           "1$",
		"$(UN$(A)KNOWN)":  "$(UN$(A)KNOWN)",
		"$( A)":           "$( A)",
		"$()":             "$()",
		"cost: 5$, $(B)!": "cost: 5$, two!",
	} {
		if got := expand(in, values); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestWhatNoProgramCanBeGiven: a variable that names twice the one before, and so on, becomes an error, and takes no memory.
func TestWhatNoProgramCanBeGiven(t *testing.T) {
	doubled := []miniv1.EnvVar{{Name: "A0", Value: "0123456789"}}
	for i := range 60 {
		doubled = append(doubled, miniv1.EnvVar{Name: fmt.Sprintf("A%d", i+1), Value: fmt.Sprintf("$(A%d)$(A%d)", i, i)})
	}
	long := []miniv1.EnvVar{{Name: "LONG", Value: strings.Repeat("x", 100<<10)}}
	var many []string
	for range 100 {
		many = append(many, "$(LONG)")
	}
	var copies []miniv1.EnvVar
	for i := range 100 {
		copies = append(copies, miniv1.EnvVar{Name: fmt.Sprint("COPY", i), Value: "$(LONG)"})
	}
	for want, c := range map[string]*miniv1.Container{
		"":                                     {Env: long, Command: many[:9], Args: many[:9]},
		"variable A14: it has more than":       {Env: doubled},
		"variable COPY9: with those before":    {Env: append(long, copies...)},
		"command: it has more than 131071":     {Env: long, Command: []string{"$(LONG)$(LONG)"}},
		"args: with those before it":           {Env: long, Args: many},
		"liveness: command: it has more than":  {Env: long, LivenessProbe: execProbe("$(LONG)$(LONG)")},
		"readiness: command: with those":       {Env: long, ReadinessProbe: execProbe(many...)},
		"variable no-value: it has more than ": {EnvFrom: []miniv1.EnvFromSource{{ConfigMapRef: &miniv1.ConfigMapEnvSource{Name: "large"}}}},
	} {
		large := map[string]*corev1.ConfigMap{"large": {Data: map[string]string{"no-value": strings.Repeat("x", 200<<10)}}}
		_, values, err := environment(&miniv1.MiniPod{}, c, Facts{}, volumes.Objects{ConfigMaps: large})
		if err == nil {
			_, _, err = commandOf(c, values)
		}
		if got := fmt.Sprint(err); err == nil && want != "" || !strings.Contains(got, want) {
			t.Errorf("%s, want %q", got, want)
		}
	}
}

func TestContainerSpec(t *testing.T) {
	ref := func(path string) *miniv1.EnvVarSource {
		return &miniv1.EnvVarSource{FieldRef: &miniv1.ObjectFieldSelector{FieldPath: path}}
	}
	pod := testPod().Requests("250m", "64Mi").Limits("500m", "128Mi").With(func(p *miniv1.MiniPod) {
		c := &p.Spec.Containers[0]
		c.Env = []miniv1.EnvVar{
			{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)$(C)"}, {Name: "C", Value: "3"},
			{Name: "NAME", ValueFrom: ref("metadata.name")}, {Name: "NS", ValueFrom: ref("metadata.namespace")},
			{Name: "UID", ValueFrom: ref("metadata.uid")}, {Name: "NODE", ValueFrom: ref("spec.nodeName")},
			{Name: "HOST", ValueFrom: ref("status.hostIP")}, {Name: "IP", ValueFrom: ref("status.podIP")},
			{Name: "NONE", ValueFrom: ref("unknown")},
		}
		c.Command, c.Args, c.WorkingDir = []string{"run", "$(C)"}, []string{"--name=$(NAME)"}, "/w"
		p.Spec.Hostname = "other"
	}).Obj()
	o := seen()
	pool := &Pool{Options: Options{Layout: Layout{RootDir: "/root", StateDir: "/state", CgroupParent: "/mini"}, Machine: Machine{NodeName: "n1", NodeIP: "10.0.0.1", MemoryBytes: 1 << 30}}}
	got, _, err := pool.containerSpec(pod, &o, podplan.Action{Container: "main", Attempt: 3, Crashes: 2})
	if err != nil {
		t.Fatal(err)
	}
	dir := "/files/"
	want := runtime.ContainerSpec{
		ID: containerID(testUID, "main", 3), Group: testUID, Image: "echo:test",
		Labels: labelsFor(pod, &pod.Spec.Containers[0], "", 3, 2),
		Env: []string{"A=1", "B=1$(C)", "C=3", "NAME=web", "NS=ns", "UID=" + testUID, "NODE=n1", "HOST=10.0.0.1",
			"IP=100.64.0.9", "NONE="},
		Command: []string{"run", "3"}, Args: []string{"--name=web"}, WorkingDir: "/w", Hostname: "other",
		Namespaces: o.box.Namespaces,
		Mounts: []runtime.Mount{{HostPath: dir + "hostname", ContainerPath: "/etc/hostname"},
			{HostPath: dir + "hosts", ContainerPath: "/etc/hosts"}, {HostPath: dir + "resolv.conf", ContainerPath: "/etc/resolv.conf"}, {HostPath: "/shm", ContainerPath: "/dev/shm"}},
		CgroupPath: "/mini/pod" + testUID + "/" + containerID(testUID, "main", 3),
		Resources:  runtime.Resources{CPUShares: 256, CPUQuota: 50_000, CPUPeriod: 100_000, MemoryLimit: 128 << 20, OOMScoreAdj: 938},
		LogPath:    "/root/logs/ns_web_" + testUID + "/main/3.log",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if podplan.ContainerNamed(pod, "none") != nil {
		t.Error("found a container that is not there")
	}
}

func TestResources(t *testing.T) {
	const machine = 1000 << 20
	for _, c := range []struct {
		name string
		pod  *builders.PodBuilder
		want runtime.Resources
	}{
		{"best effort", testPod(), runtime.Resources{CPUShares: 2, OOMScoreAdj: 1000}},
		{"guaranteed", testPod().Limits("2", "64Mi"), runtime.Resources{CPUShares: 2048, CPUQuota: 200_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20, OOMScoreAdj: -997}},
		{"burstable", testPod().Requests("0.05", "100Mi"), runtime.Resources{CPUShares: 51, OOMScoreAdj: 900}},
		{"burstable, all of it", testPod().Requests("1m", "2000Mi"), runtime.Resources{CPUShares: 2, OOMScoreAdj: 3}},
		{"burstable, cpu only", testPod().Requests("1", ""), runtime.Resources{CPUShares: 1024, OOMScoreAdj: 999}},
		{"least quota", testPod().Limits("1m", ""), runtime.Resources{CPUShares: 2, CPUQuota: 1000, CPUPeriod: 100_000, OOMScoreAdj: 999}},
		{"most shares", testPod().Requests("1000", ""), runtime.Resources{CPUShares: 262144, OOMScoreAdj: 999}},
	} {
		pod := c.pod.Obj()
		if diff := cmp.Diff(c.want, resourcesOf(pod, &pod.Spec.Containers[0], machine)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestContainerID(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct {
		name    string
		attempt int
	}{{"main", 0}, {long, 0}, {long, 123456}, {strings.Repeat("a", 62) + "b", 0}} {
		id := containerID(testUID, c.name, c.attempt)
		if err := runtime.ValidateID(id); err != nil {
			t.Error(err)
		}
		if uid, ok := podOf(id); !ok || uid != testUID {
			t.Errorf("podOf(%q) = %q, %v", id, uid, ok)
		}
	}
	if containerID(testUID, long, 0) == containerID(testUID, strings.Repeat("a", 62)+"b", 0) {
		t.Error("two names, one ID")
	}
	if _, ok := podOf("something-else"); ok {
		t.Error("podOf takes any name")
	}
	if number("x") != 0 || number("-1") != 0 {
		t.Error("foreign labels must not count")
	}
}

func TestFiles(t *testing.T) {
	l, dir := Layout{RootDir: t.TempDir(), StateDir: t.TempDir()}, t.TempDir()
	pod := testPod().Obj()
	if _, err := writeFiles(pod, "100.64.0.9", dir, names.Cluster{}); err != nil {
		t.Fatal(err)
	}
	hosts, err := os.ReadFile(filepath.Join(dir, "hosts"))
	if err != nil || !strings.Contains(string(hosts), "100.64.0.9\tweb\n") {
		t.Errorf("hosts: %v\n%s", err, hosts)
	}
	inode := func() os.FileInfo {
		info, err := os.Stat(filepath.Join(dir, "hosts"))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	before := inode()
	for _, address := range []string{"100.64.0.9", "100.64.0.10"} {
		if _, err := writeFiles(pod, address, dir, names.Cluster{}); err != nil {
			t.Fatal(err)
		}
	}
	if !os.SameFile(before, inode()) {
		t.Error("a running container would not see the new hosts file")
	}
	if err := os.MkdirAll(l.podDir(pod.UID), 0o755); err != nil { // as an earlier version of the agent left it
		t.Fatal(err)
	}
	log := l.logPath(pod, "main", 0)
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	uids, err := l.podsWithFiles()
	if diff := cmp.Diff([]types.UID{testUID, testUID}, uids); diff != "" || err != nil {
		t.Errorf("podsWithFiles: %v\n%s", err, diff)
	}
	l.removeLog(pod, podplan.Container{Name: "main"})
	if _, err := os.Stat(log); !os.IsNotExist(err) {
		t.Error("the log is still there")
	}
	// Of a MiniPod whose directory is known, it is not looked for among all.
	if err := l.removeFiles(pod.UID, filepath.Join(l.logsDir(), "ns_other_"+testUID)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(filepath.Dir(log))); err != nil {
		t.Errorf("another directory was looked for: %v", err)
	}
	if err := l.removeFiles(pod.UID, ""); err != nil {
		t.Fatal(err)
	}
	if uids, err := l.podsWithFiles(); len(uids) > 0 || err != nil {
		t.Errorf("left: %v %v", uids, err)
	}
}

// TestFilesOfTenants: what containers made of their files is not read beyond what the files can be, and is put right again.
func TestFilesOfTenants(t *testing.T) {
	dir := t.TempDir()
	pod := testPod().Obj()
	for name, change := range map[string]func(path string) error{
		"a terabyte": func(path string) error { return os.Truncate(path, 1<<40) },
		"emptied":    func(path string) error { return os.Truncate(path, 0) },
		"changed":    func(path string) error { return os.WriteFile(path, []byte("127.0.0.1 ads.example\n"), 0o644) },
	} {
		if _, err := writeFiles(pod, "100.64.0.9", dir, names.Cluster{}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "hosts")
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		if _, err := writeFiles(pod, "100.64.0.9", dir, names.Cluster{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() > 4096 {
			t.Fatalf("%s: %+v, %v", name, info, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != string(names.Hosts(pod, "100.64.0.9", names.Cluster{})) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}

func TestRegistryAuths(t *testing.T) {
	secret := func(json string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", UID: "u1"},
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(json)}}
	}
	got, err := registryAuths(secret(`{"auths":{"b:5000":{"username":"u","password":"p"},"a":{"auth":"dTI6cDI6Mw=="},"c":{}}}`))
	const from = "ns/s/u1"
	want := []runtime.RegistryAuth{{Registry: "a", Username: "u2", Password: "p2:3", Secret: from},
		{Registry: "b:5000", Username: "u", Password: "p", Secret: from}, {Registry: "c", Secret: from}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("auths: %v\n%s", err, diff)
	}
	for _, auth := range []string{`dTI6cDI6Mw==`, `dTI6cDI6Mw`, `dTI6\ncDI6Mw==\n`} { // as base64 writes it, without padding, and in lines
		got, err := registryAuths(secret(`{"auths":{"a":{"auth":"` + auth + `"}}}`))
		if err != nil || len(got) != 1 || got[0].Password != "p2:3" {
			t.Errorf("%s: %v, %v", auth, got, err)
		}
	}
	for _, bad := range []string{`{`, `{"auths":{"a":{"auth":"!"}}}`, `{"auths":{"a":{"auth":"dTI="}}}`} {
		if _, err := registryAuths(secret(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if _, err := registryAuths(&corev1.Secret{}); err == nil {
		t.Error("no error for a Secret of another type")
	}
}

// What a resolver has no room for is told.
func TestDNSConfigForming(t *testing.T) {
	b, recorder := newBench(t), events.NewFakeRecorder(8)
	b.pool.Recorder = recorder
	b.pool.Machine.Cluster.Servers = []string{"10.96.0.10"}
	b.create("a", func(p *miniv1.MiniPod) {
		p.Spec.DNSConfig = &miniv1.PodDNSConfig{Nameservers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}}
	})
	told(t, recorder, "Warning DNSConfigForming Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 10.96.0.10 192.0.2.1 192.0.2.2")
	b.shows("a", "Running")
}

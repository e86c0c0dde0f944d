//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
)

func TestLayout(t *testing.T) {
	l := Layout{Root: "/src"}
	got := []string{
		l.ControlPlane(), l.HostLink(), l.Node(0), l.Subnet().String(), l.ControlPlaneIP().String(), l.HostIP().String(), l.NodeIP(1).String(),
		l.RunDir(), l.DataDir(), l.Cgroup(), l.PodCgroup("mini-0"), l.Kubeconfig(), l.APIServer(), l.Registry(), l.ContainerdSocket("mini-0"),
	}
	want := []string{
		"mini-cp", "mini-host", "mini-0", "100.127.255.0/24", "100.127.255.1", "100.127.255.254", "100.127.255.11",
		"/run/miniplane-local", "/var/lib/miniplane-local", "/miniplane-local", "/miniplane-local/mini-0", "/src/.local/kubeconfig",
		"https://100.127.255.1:6443", "100.127.255.1:5000", "/run/miniplane-local/mini-0/containerd.sock",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Instances share neither names nor addresses, none overlaps miniplane's own ranges, and all names fit into a link's 15
// bytes and a socket's 107.
func TestLayoutsAreApart(t *testing.T) {
	taken := map[string]bool{}
	for instance := range maxInstance + 1 {
		l := Layout{Root: "/src", Instance: instance}
		for _, used := range []string{l.Subnet().String(), l.HostLink(), l.ControlPlane(), l.Node(0), l.RunDir(), l.DataDir(), l.Cgroup(), l.Kubeconfig()} {
			if taken[used] {
				t.Errorf("%s is used twice", used)
			}
			taken[used] = true
		}
		for _, other := range []string{podRange, serviceRange, nativeServiceRange} {
			if l.Subnet().Overlaps(netip.MustParsePrefix(other)) {
				t.Errorf("%s overlaps %s", l.Subnet(), other)
			}
		}
		last := l.Node(maxNodes - 1)
		if len(last) > 15 || len(l.HostLink()) > 15 {
			t.Errorf("%s is too long for a link", last)
		}
		if shim := l.NodeRunDir(last) + "/s/" + strings.Repeat("x", 64); len(shim) > 107 {
			t.Errorf("%s is too long for a socket", shim)
		}
		if l.NodeIP(maxNodes-1) == l.HostIP() || !l.Subnet().Contains(l.NodeIP(maxNodes-1)) {
			t.Errorf("the last node's address is %s", l.NodeIP(maxNodes-1))
		}
	}
}

func TestNodeIndex(t *testing.T) {
	l := Layout{}
	if i, err := l.NodeIndex("mini-17"); i != 17 || err != nil {
		t.Errorf("%d, %v", i, err)
	}
	for _, wrong := range []string{"mini-", "mini-x", "mini-200", "mini-01", "cp", ""} {
		if _, err := l.NodeIndex(wrong); err == nil {
			t.Errorf("%q passed", wrong)
		}
	}
}

func TestParseStat(t *testing.T) {
	rest := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21"
	for _, name := range []string{"(etcd)", "(a b)", "(evil) R 1 2)"} {
		state, start, err := parseStat("42 " + name + rest)
		if state != "S" || start != 98765 || err != nil {
			t.Errorf("%s: %s, %d, %v", name, state, start, err)
		}
	}
	for _, wrong := range []string{"", "42 (x) S", "42 x"} {
		if _, _, err := parseStat(wrong); err == nil {
			t.Errorf("%q passed", wrong)
		}
	}
}

// A record names one process, not whatever has its number later.
func TestRecordIdentity(t *testing.T) {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, start, err := parseStat(string(data))
	if err != nil {
		t.Fatal(err)
	}
	if !(Record{PID: os.Getpid(), Start: start}).alive() {
		t.Error("we are not alive")
	}
	if (Record{PID: os.Getpid(), Start: start - 1}).alive() {
		t.Error("an earlier process with our number is alive")
	}
	if (Record{PID: 1 << 30, Start: start}).alive() {
		t.Error("nobody is alive")
	}
}

func TestParseMounts(t *testing.T) {
	const info = `21 1 8:1 / / rw - ext4 /dev/vda rw
22 21 0:5 / /run/x rw - tmpfs tmpfs rw
23 22 0:6 / /run/x/a\040b rw - overlay overlay rw
24 21 0:7 / /run/xy rw - tmpfs tmpfs rw
25 23 0:8 net:[1] /run/x/a\040b/ns rw - nsfs nsfs rw
`
	want := []string{"/run/x/a b/ns", "/run/x/a b", "/run/x"}
	if diff := cmp.Diff(want, parseMounts(info, []string{"/run/x", "/var/x"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCertificates(t *testing.T) {
	l, now := Layout{Root: t.TempDir()}, time.Now()
	files, err := renderPKI(l, now)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := loadAuthority(keyPair{Cert: files[caCertFile], Key: files[caKeyFile]})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	serving := parseCert(t, files[apiCertFile])
	for _, name := range []string{"100.127.255.1", "127.0.0.1", "kubernetes.default.svc", "100.97.0.1"} {
		if err := serving.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	content, err := renderKubeconfig(l.APIServer(), ca, agentIdentity("mini-3"), now)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		t.Fatal(err)
	}
	client := parseCert(t, config.CertData)
	if _, err := client.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	got := append([]string{config.Host, client.Subject.CommonName}, client.Subject.Organization...)
	want := []string{"https://100.127.255.1:6443", "system:miniplane:node:mini-3", "system:miniplane:nodes"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := loadAuthority(keyPair{}); err == nil {
		t.Error("an empty authority was loaded")
	}
}

func parseCert(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Nothing in a node's containerd configuration lies outside the node's own directories.
func TestContainerdConfig(t *testing.T) {
	l := Layout{Root: "/src"}
	config := containerdConfig(l, "mini-1", false)
	for line := range strings.SplitSeq(config, "\n") {
		_, value, _ := strings.Cut(line, " = ")
		path := strings.Trim(value, `"`)
		if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/run/miniplane-local/mini-1/") && !strings.HasPrefix(path, "/var/lib/miniplane-local/mini-1/") {
			t.Errorf("outside of the node: %s", line)
		}
	}
	for _, want := range []string{"no_sync = true", `"io.containerd.grpc.v1.cri"`, "socket_dir"} {
		if !strings.Contains(config, want) {
			t.Errorf("no %s in\n%s", want, config)
		}
	}
	if old := containerdConfig(l, "mini-1", true); !strings.HasPrefix(old, "version = 2\n") || !strings.Contains(old, "[grpc]\n  address = \"/run/miniplane-local/mini-1/") {
		t.Errorf("for containerd 1.7:\n%s", old)
	}
}

func TestDecodeObjects(t *testing.T) {
	objects, err := decodeObjects([]byte("# a comment\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n---\n" +
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.GetKind()+"/"+o.GetName())
	}
	if diff := cmp.Diff([]string{"Namespace/a", "Secret/b"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := decodeObjects([]byte("a: [")); err == nil {
		t.Error("broken YAML passed")
	}
}

// What must be installed is in the clone, and in no object twice.
func TestManifests(t *testing.T) {
	c := newCluster(Layout{Root: filepath.Join("..", "..")}, nil)
	objects, err := c.manifests()
	if err != nil {
		t.Fatal(err)
	}
	seen, kinds := map[string]bool{}, map[string]int{}
	for _, o := range objects {
		key := o.GetKind() + "/" + o.GetNamespace() + "/" + o.GetName()
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
		kinds[o.GetKind()]++
	}
	if kinds["CustomResourceDefinition"] < 6 || kinds["ValidatingAdmissionPolicy"] < 1 || !seen["Namespace//miniplane-system"] {
		t.Errorf("missing something: %v", kinds)
	}
}

func TestEventually(t *testing.T) {
	tries := 0
	if err := eventually(t.Context(), func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := eventually(ended, func() error { return errors.New("never") }); err == nil || err.Error() != "never" {
		t.Errorf("interrupted: %v", err)
	}
	if err := eventually(t.Context(), func() error { return errDied }); !errors.Is(err, errDied) {
		t.Errorf("dead: %v", err)
	}
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := &Report{out: &out, every: 10 * time.Second}
		slow := func() error { time.Sleep(25 * time.Second); return nil }
		if err := r.Step("slow", slow); err != nil {
			t.Fatal(err)
		}
		want := "  slow … still at it after 10 s\n  slow … still at it after 20 s\n  slow                                25.0 s\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Error(diff)
		}
		if err := r.Step("broken", func() error { return errors.New("oh") }); err == nil || err.Error() != "broken: oh" {
			t.Errorf("error %v", err)
		}
	})
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "usage: cluster COMMAND"},
		{[]string{"dance"}, `there is no command "dance"`},
		{[]string{"exec", "mini-0"}, "usage: cluster exec NODE CMD"},
		{[]string{"node-stop"}, "usage: cluster node-stop NODE"},
		{[]string{"up", "now"}, "usage: cluster up"},
	} {
		if err := run(tc.args); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.args, err, tc.want)
		}
	}
}

// The way out of our own shim can be tried.
func TestShims(t *testing.T) {
	c := newCluster(Layout{Root: t.TempDir()}, nil)
	for shim, want := range map[string]string{"": "--shim-binary=" + c.binary("shim"), shimOwn: "--shim-binary=" + c.binary("shim"), shimRunc: "--shim-binary="} {
		if c.shim = shim; !slices.Contains(c.agentArgs(c.Node(0)), want) || checkShim(shim) != nil {
			t.Errorf("%q: %v, %v", shim, c.agentArgs(c.Node(0)), checkShim(shim))
		}
	}
	if err := checkShim("crun"); err == nil || !strings.Contains(err.Error(), "only own and runc") {
		t.Errorf("error %v", err)
	}
}

// Only a yardstick's limits can be raised, and then all parts' are.
func TestLimits(t *testing.T) {
	args := func(full bool, limits string) string {
		c := newCluster(Layout{Root: t.TempDir()}, nil)
		c.full, c.limits = full, limits
		return strings.Join(append(c.kcm().Args, c.scheduler().Args...), " ") + kubeletLimits(c.limits)
	}
	if got := args(true, limitsDefault); strings.Contains(got, "qps") || strings.Contains(got, "QPS") {
		t.Errorf("the defaults are not left alone: %s", got)
	}
	if got := args(true, limitsRaised); strings.Count(got, "--kube-api-qps=2000") != 2 || !strings.Contains(got, "kubeAPIQPS: 2000\n") {
		t.Errorf("not all limits are raised: %s", got)
	}
	if got := args(false, ""); !strings.Contains(got, "--kube-api-qps=200 ") {
		t.Errorf("the limits of a cluster without a kubelet changed: %s", got)
	}
	if err := checkLimits("none"); err == nil || !strings.Contains(err.Error(), "only default and raised") {
		t.Errorf("error %v", err)
	}
}

// Only answers that did not come in time are waited for again: what is refused is refused once.
func TestTooLate(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false,
		&url.Error{Op: "Patch", URL: "https://x", Err: context.DeadlineExceeded}: true,
		apierrors.NewTooManyRequests("busy", 1):                                  true,
		apierrors.NewTimeoutError("slow", 1):                                     true,
		apierrors.NewBadRequest("wrong"):                                         false,
	} {
		if got := tooLate(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

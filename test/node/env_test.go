package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/nettest"
	"miniplane.dev/miniplane/test/containerdenv"
	"miniplane.dev/miniplane/test/slow"
	"miniplane.dev/miniplane/test/testenv"
)

const (
	testImage = "docker.io/library/busybox:test"
	nodeIP    = "10.90.0.1"
	podCIDR   = "100.64.4.0/22"
)

// env is one node: a network namespace, a containerd, directories, and the agent's process.
type env struct {
	t          testing.TB
	name       string // of the node
	namespace  string
	ns         *nettest.NS
	containerd *containerdenv.Env
	api        client.Client
	dir        string
	cgroup     string
	kubeconfig string
	flags      []string // besides those that every node has
	programs   programs
	agent      *exec.Cmd
}

// programs are those of one version of miniplane.
type programs struct{ agent, pause, shim string }

// ofThisTree are the programs that are tested.
func ofThisTree(t testing.TB) programs {
	t.Helper()
	return programs{agent: agentBinary, pause: containerdenv.PauseBinary(t), shim: containerdenv.ShimBinary(t)}
}

// newEnv makes a node and starts its agent.
func newEnv(t *testing.T, flags ...string) *env {
	t.Helper()
	return newEnvOf(t, ofThisTree(t), flags...)
}

func newEnvOf(t *testing.T, p programs, flags ...string) *env {
	t.Helper()
	containerdenv.RequireRoot(t)
	cfg, api := testenv.Start(t)
	namespace := testenv.Namespace(t, api)
	e := &env{t: t, name: "node-" + namespace, namespace: namespace, api: api, dir: t.TempDir(), flags: flags, programs: p,
		cgroup: "/miniplane-" + namespace, containerd: containerdenv.Start(t)}
	e.containerd.ImportImage(t, testImage, containerdenv.Busybox(t, v1.Config{}))
	e.ns = nettest.New(t, "node")
	if os.Getenv("IPTABLES") == "legacy" {
		e.ns.Run("iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT") // as a kubelet does
	}
	nettest.Link(e.ns, nodeIP+"/24", nettest.New(t, "outside"), "10.90.0.2/24")
	e.writeKubeconfig(cfg)
	e.ensureNamespace(miniv1.SystemNamespace)
	t.Cleanup(e.close)
	e.start()
	e.join()
	return e
}

func (e *env) ensureNamespace(name string) {
	e.t.Helper()
	err := e.api.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		e.t.Fatal(err)
	}
}

// writeKubeconfig makes the API server, which listens on the loopback of the machine, reachable on that of the node.
func (e *env) writeKubeconfig(cfg *rest.Config) {
	e.t.Helper()
	var listener net.Listener
	var err error
	e.ns.Do(func() { listener, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = listener.Close() })
	go forward(listener, host(e.t, cfg))
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: "https://" + listener.Addr().String(), CertificateAuthorityData: cfg.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	e.kubeconfig = filepath.Join(e.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, e.kubeconfig); err != nil {
		e.t.Fatal(err)
	}
}

// host is host:port of the API server.
func host(tb testing.TB, cfg *rest.Config) string {
	tb.Helper()
	server, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return server.Host
}

func forward(listener net.Listener, to string) {
	for {
		in, err := listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			_ = in.Close()
			continue
		}
		var once sync.Once
		shut := func() { _ = in.Close(); _ = out.Close() }
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			go func() { _, _ = io.Copy(pair[0], pair[1]); once.Do(shut) }()
		}
	}
}

func (e *env) stateDir() string { return filepath.Join(e.dir, "state") }
func (e *env) rootDir() string  { return filepath.Join(e.dir, "root") }

// command is the agent's.
func (e *env) command(args ...string) *exec.Cmd {
	all := append([]string{
		"--kubeconfig=" + e.kubeconfig, "--node-name=" + e.name, "--node-ip=" + nodeIP, "--register-node",
		"--containerd-address=" + e.containerd.Address, "--state-dir=" + e.stateDir(), "--root-dir=" + e.rootDir(),
		"--cgroup-parent=" + e.cgroup, "--pause-binary=" + e.programs.pause,
		"--shim-binary=" + e.programs.shim, "--runc-binary=" + filepath.Join(e.containerd.Bin, "runc"), "--v=1",
		"--resync-period=5s",
	}, args...)
	cmd := exec.Command(e.programs.agent, append(all, e.flags...)...)
	log, err := os.OpenFile(filepath.Join(e.dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = log.Close() })
	cmd.Stdout, cmd.Stderr = log, log
	return cmd
}

// start starts the agent in the node's network namespace.
func (e *env) start() {
	e.t.Helper()
	e.agent = e.command()
	var err error
	e.ns.Do(func() { err = e.agent.Start() })
	if err != nil {
		e.t.Fatal(err)
	}
}

// kill ends the agent with SIGKILL, wherever it is.
func (e *env) kill() {
	if e.agent != nil {
		_ = e.agent.Process.Kill()
		_ = e.agent.Wait()
		e.agent = nil
	}
}

// term ends the agent in order.
func (e *env) term() {
	e.t.Helper()
	_ = e.agent.Process.Signal(syscall.SIGTERM)
	if err := e.agent.Wait(); err != nil {
		e.t.Errorf("the agent ended: %v\n%s", err, e.log())
	}
	e.agent = nil
}

// join plays the node controller, and waits until the agent says that it is ready.
func (e *env) join() {
	e.t.Helper()
	e.until("the MiniNode is there", func() bool {
		node := &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: e.name}}
		patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"status":{"podCIDR":%q}}`, podCIDR))
		return e.api.Status().Patch(context.Background(), node, patch) == nil
	})
	e.until("the agent is ready", func() bool {
		var out string
		var err error
		out, err = e.ns.Try("curl", "-sf", "http://127.0.0.1:10350/readyz")
		return err == nil && strings.HasPrefix(out, "ok")
	})
}

// close removes everything, by the agent's own clean-up, and checks that nothing is left.
func (e *env) close() {
	e.kill()
	cmd := e.command("--cleanup")
	var err error
	e.ns.Do(func() { err = cmd.Run() })
	if err != nil {
		e.t.Errorf("clean-up: %v\n%s", err, e.log())
	}
	for _, left := range []string{e.stateDir(), e.rootDir(), "/sys/fs/cgroup/cpu" + e.cgroup, "/sys/fs/cgroup" + e.cgroup} {
		if _, err := os.Stat(left); err == nil {
			e.t.Errorf("clean-up left %s", left)
		}
	}
	for _, kind := range []iptables.Backend{iptables.NFTables, iptables.Legacy} {
		if out, _ := e.ns.Try(kind.Programs().IPTables + "-save"); strings.Contains(out, iptables.Prefix) {
			e.t.Errorf("clean-up left rules of %s:\n%s", kind, out)
		}
	}
	if left, _ := exec.Command("pgrep", "-af", "containerd-shim-miniplane.*"+e.containerd.Address).Output(); len(left) > 0 {
		e.t.Errorf("clean-up left servers:\n%s", left)
	}
	if e.t.Failed() {
		e.t.Logf("agent's log:\n%s", e.log())
	}
}

// log is the end of the agent's log.
func (e *env) log() string {
	text := e.wholeLog()
	return text[max(0, len(text)-20000):]
}

func (e *env) wholeLog() string {
	text, _ := os.ReadFile(filepath.Join(e.dir, "agent.log"))
	return string(text)
}

// until waits for something that is watched from outside.
func (e *env) until(what string, ok func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(slow.By(60 * time.Second)); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("timeout: %s", what)
		}
	}
}

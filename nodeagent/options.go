package nodeagent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/names"
	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/runtime/containerd"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

// Version of the agent, set when it is built.
var Version = "v0.1.0-dev"

// Options say what the agent works with. Defaults are in DefaultOptions.
type Options struct {
	// NodeName is the name of the core Node and of the MiniNode; NodeIP the address that other nodes reach this one by.
	NodeName string
	NodeIP   netip.Addr
	// ContainerdAddress is the path of containerd's socket, ContainerdNamespace the one whose containers are the agent's.
	ContainerdAddress, ContainerdNamespace string
	// StateDir is for what may go with the machine's next start (pins of namespaces, records of addresses, files of MiniPods),
	// RootDir for what may not (logs).
	StateDir, RootDir string
	// CgroupParent is the cgroup above all MiniPods'.
	CgroupParent string
	// RegisterNode makes the agent keep the core Node and its Lease, where no kubelet does.
	RegisterNode bool
	// PodCIDR is the range of the whole cluster's MiniPods, ServiceCIDR that of virtual IPs.
	PodCIDR, ServiceCIDR netip.Prefix
	// ClusterDNS are the servers of dnsPolicy ClusterFirst; none makes it Default. ClusterDomain is the domain of the cluster's names.
	ClusterDNS    []netip.Addr
	ClusterDomain string
	// Encapsulation says when packets between nodes go through VXLAN.
	Encapsulation network.Encapsulation
	// IPTables says which kind of iptables the rules are made with.
	IPTables iptables.Backend
	// MaxPods bounds the number of MiniPods on the node.
	MaxPods int64
	// CPU and Memory are the lane's budget; zero means the machine's.
	CPU, Memory resource.Quantity
	// PIDs is how many processes and threads all MiniPods may have together; zero means three quarters of the machine's.
	// PodMaxPIDs is the same for each MiniPod; zero means as many as the lane.
	PIDs, PodMaxPIDs int64
	// PauseBinary is the program that keeps sandboxes; RuncBinary replaces the runc in containerd's path.
	PauseBinary, RuncBinary string
	// ShimBinary is the server of miniplane's shim (cmd/shim). Without it, or where it is empty, containers are started with
	// containerd's shim for runc.
	ShimBinary string
	// Shim is the installed shim, which Complete finds out.
	Shim string
	// InstallPause copies the pause program below RootDir and uses it there: for an agent in a container, whose own files
	// containerd does not see.
	InstallPause bool
	// HealthAddress serves /healthz, /readyz and /metrics; empty turns it off.
	HealthAddress string
	// InsecureRegistries are host:port of registries spoken to by plain http.
	InsecureRegistries []string
	// ParallelPulls is how many images may be pulled at a time, PullDeadline how long nothing may come of one.
	ParallelPulls int
	PullDeadline  time.Duration
	// Logs bound what the output of one container takes of the disk.
	Logs stdio.Limits
	// DaemonSet that the agent belongs to, as NAMESPACE/NAME. When it is deleted, the agent cleans the machine up before it
	// ends. Empty: containers survive every end of the agent.
	DaemonSet string
	// GracePeriod is how long the agent may take to end, as its Pod's terminationGracePeriodSeconds. It needs it only to leave.
	GracePeriod time.Duration
	// Resync is the time between two looks at the whole machine.
	Resync time.Duration
}

// DefaultOptions fit a machine with containerd; NodeName is the host name, and NodeIP must be found or given.
func DefaultOptions() Options {
	hostname, _ := os.Hostname()
	return Options{
		NodeName:            hostname,
		ContainerdAddress:   "/run/containerd/containerd.sock",
		ContainerdNamespace: "miniplane",
		StateDir:            "/run/miniplane",
		RootDir:             "/var/lib/miniplane",
		CgroupParent:        "/miniplane",
		PodCIDR:             netip.MustParsePrefix("100.64.0.0/11"),
		ServiceCIDR:         netip.MustParsePrefix("100.96.0.0/16"),
		ClusterDomain:       "cluster.local",
		Encapsulation:       network.EncapsulateAuto,
		IPTables:            iptables.Auto,
		MaxPods:             500,
		PodMaxPIDs:          4096,
		HealthAddress:       "127.0.0.1:10350",
		PauseBinary:         besideMe("pause"),
		ShimBinary:          besideMe("shim"),
		ParallelPulls:       4,
		PullDeadline:        time.Minute,
		Logs:                stdio.DefaultLimits,
		GracePeriod:         2 * time.Minute,
		Resync:              time.Minute,
	}
}

// cluster is what MiniPods are told of the names of the cluster.
func (o *Options) cluster() names.Cluster {
	out := names.Cluster{Domain: o.ClusterDomain}
	out.Machine, _ = os.Hostname() // which is what the kernel of this machine tells MiniPods in its network, whatever it is
	for _, server := range o.ClusterDNS {
		out.Servers = append(out.Servers, server.String())
	}
	return out
}

// besideMe is a program in the directory of this one.
func besideMe(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

// Prepare completes the options, and finds out whether they and this machine are good for an agent, or for a clean-up, which needs less.
func (o *Options) Prepare(cleanup bool) error {
	if cleanup {
		return errors.Join(o.ValidatePaths(), o.CheckMachine(true))
	}
	if err := o.Complete(); err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
	return o.CheckMachine(false)
}

// Complete finds out what was not given.
func (o *Options) Complete() error {
	if o.NodeIP.IsValid() {
		return nil
	}
	var err error
	if o.NodeIP, err = defaultAddress(); err != nil {
		return fmt.Errorf("cannot find the address of this node (%w); give it with --node-ip", err)
	}
	return nil
}

// Install puts the agent's programs where the machine sees them.
func (o *Options) Install() error {
	if o.InstallPause {
		var err error
		if o.PauseBinary, err = installPause(o.PauseBinary, o.RootDir); err != nil {
			return err
		}
	}
	return o.installShim()
}

// installShim puts the shim where containerd can execute it. That none is beside the agent is no error: there is another.
func (o *Options) installShim() error {
	if o.ShimBinary == "" {
		return nil
	}
	if _, err := os.Stat(o.ShimBinary); errors.Is(err, os.ErrNotExist) && o.ShimBinary == besideMe("shim") {
		return nil
	}
	var err error
	o.Shim, err = containerd.InstallShim(o.PauseBinary, o.ShimBinary, o.RootDir, o.StateDir)
	if err != nil {
		return fmt.Errorf("%w: build it with hack/shim.sh and give its path with --shim-binary, or give --shim-binary= to use runc", err)
	}
	return nil
}

// defaultAddress is the address that the machine uses towards others. Nothing is sent.
func defaultAddress() (netip.Addr, error) {
	conn, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), nil
}

// Validate finds every mistake at once, each with what to do.
func (o *Options) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.NodeName == "" {
		wrong("--node-name is empty: give the name of this machine's Node")
	}
	if !o.NodeIP.Is4() {
		wrong("--node-ip %s: must be an IPv4 address of this machine", o.NodeIP)
	}
	for name, prefix := range map[string]netip.Prefix{"pod-cidr": o.PodCIDR, "service-cidr": o.ServiceCIDR} {
		if !prefix.Addr().Is4() || prefix != prefix.Masked() {
			wrong("--%s %s: must be an IPv4 range without bits outside its prefix, such as 100.96.0.0/16; the manager needs the same", name, prefix)
		}
	}
	if o.PodCIDR.Overlaps(o.ServiceCIDR) {
		wrong("--pod-cidr %s and --service-cidr %s overlap: choose separate ranges, and give the manager the same", o.PodCIDR, o.ServiceCIDR)
	}
	if slices.ContainsFunc(o.ClusterDNS, func(a netip.Addr) bool { return !a.Is4() }) {
		wrong("--cluster-dns %v: must be IPv4 addresses, as MiniPods have", o.ClusterDNS)
	}
	if problems := validation.IsDNS1123Subdomain(o.ClusterDomain); len(problems) > 0 {
		wrong("--cluster-domain %q: must be a domain such as cluster.local, without a dot at its end", o.ClusterDomain)
	}
	if namespace, name, _ := strings.Cut(o.DaemonSet, "/"); o.DaemonSet != "" && (namespace == "" || name == "") {
		wrong("--daemonset %q: must be the NAMESPACE/NAME of the DaemonSet that this agent belongs to", o.DaemonSet)
	}
	if !slices.Contains([]network.Encapsulation{network.EncapsulateAuto, network.EncapsulateAlways, network.EncapsulateNever}, o.Encapsulation) {
		wrong("--encapsulation %q: must be auto, always or never", o.Encapsulation)
	}
	if !slices.Contains([]iptables.Backend{iptables.Auto, iptables.NFTables, iptables.Legacy}, o.IPTables) {
		wrong("--iptables-backend %q: must be auto, nft or legacy", o.IPTables)
	}
	return errors.Join(append(errs, o.ValidatePaths(), o.validateAmounts(), o.Logs.Validate())...)
}

// What others keep things in, and no directory or cgroup of an agent's own.
var (
	othersDirs = []string{"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root", "/run", "/run/containerd",
		"/sbin", "/srv", "/sys", "/sys/fs/cgroup", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/share", "/var", "/var/cache", "/var/lib",
		"/var/lib/containerd", "/var/lib/kubelet", "/var/log", "/var/run", "/var/tmp"}
	othersCgroups = []string{"/", "/init.scope", "/kubelet", "/kubelet.slice", "/kubepods", "/kubepods.slice", "/machine.slice", "/system.slice", "/user.slice"}
)

// ValidatePaths finds mistakes in where the agent keeps what it makes: all that a clean-up needs, which removes what is there.
func (o *Options) ValidatePaths() error {
	var errs []error
	for name, path := range map[string]struct {
		of     string
		others []string
	}{"state-dir": {o.StateDir, othersDirs}, "root-dir": {o.RootDir, othersDirs}, "cgroup-parent": {o.CgroupParent, othersCgroups}} {
		if !filepath.IsAbs(path.of) || slices.Contains(path.others, filepath.Clean(path.of)) {
			errs = append(errs, fmt.Errorf("--%s %q: must be an absolute path of the agent's own: a clean-up removes it", name, path.of))
		}
	}
	return errors.Join(errs...)
}

// leastPullDeadline is the shortest time without a byte after which a pull may be given up.
const leastPullDeadline = 5 * time.Second

// validateAmounts looks at how much of everything there may be.
func (o *Options) validateAmounts() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.MaxPods < 1 {
		wrong("--max-pods %d: must be at least 1", o.MaxPods)
	}
	if o.PIDs < 0 || o.PodMaxPIDs < 0 {
		wrong("--pids and --pod-max-pids must not be negative")
	}
	if o.CPU.Sign() < 0 || o.Memory.Sign() < 0 {
		wrong("--cpu and --memory must not be negative")
	}
	if o.ParallelPulls < 1 {
		wrong("--max-parallel-image-pulls %d: must be at least 1", o.ParallelPulls)
	}
	if o.PullDeadline < leastPullDeadline {
		wrong("--image-pull-progress-deadline %s: must be at least %s: a registry may think for a while before it answers", o.PullDeadline, leastPullDeadline)
	}
	if o.Resync < time.Second {
		wrong("--resync-period %s: must be at least 1s", o.Resync)
	}
	return errors.Join(errs...)
}

// CheckMachine finds out whether this machine can do what the agent needs, and says what to do if it cannot. A containerd that is
// not there yet, or not now, is waited for; only cleaning up cannot wait.
func (o *Options) CheckMachine(cleanup bool) error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("the agent needs root, for namespaces, cgroups and iptables: run it with sudo, or in a privileged container"))
	}
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		errs = append(errs, errors.New("there is no iptables-restore in PATH: install the package iptables"))
	}
	if _, err := os.Stat(o.ContainerdAddress); err != nil && cleanup {
		errs = append(errs, fmt.Errorf("there is no containerd at %s: start containerd, or give its socket with --containerd-address", o.ContainerdAddress))
	}
	if info, err := os.Stat(o.PauseBinary); err != nil || info.Mode()&0o111 == 0 {
		errs = append(errs, fmt.Errorf("there is no pause program at %s: build it with hack/pause.sh, or give its path with --pause-binary", o.PauseBinary))
	}
	return errors.Join(errs...)
}

// Command nodeagent runs the MiniPods of one node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"k8s.io/apimachinery/pkg/api/resource"

	"miniplane.dev/miniplane/nodeagent"
)

// signOffTimeout bounds the last words of an agent.
const signOffTimeout = 8 * time.Second

func main() {
	opts := nodeagent.DefaultOptions()
	var cleanup bool
	bind(flag.CommandLine, &opts, &cleanup)
	logging := zap.Options{}
	logging.BindFlags(flag.CommandLine)
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logging)))
	if err := run(ctrl.SetupSignalHandler(), opts, cleanup, ctrl.Log); err != nil {
		fmt.Fprintln(os.Stderr, "nodeagent:", strings.ReplaceAll(err.Error(), "\n", "\nnodeagent: "))
		os.Exit(1)
	}
}

func run(ctx context.Context, opts nodeagent.Options, cleanup bool, log logr.Logger) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: all settings are flags, see --help", flag.Arg(0))
	}
	if err := opts.Prepare(cleanup); err != nil {
		return err
	}
	claim, err := nodeagent.ClaimMachine(ctx, opts.StateDir, log)
	if err != nil {
		return err
	}
	defer claim.GiveBack()
	if err := opts.Install(); err != nil && !cleanup {
		return err
	}
	if cleanup {
		return nodeagent.Cleanup(ctx, opts, log)
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("no way to the API server (%w): give --kubeconfig", err)
	}
	machine, err := nodeagent.OpenMachine(opts, log)
	if err != nil {
		return err
	}
	err = nodeagent.Run(ctx, config, opts, machine, log)
	machine.Close()
	if errors.Is(err, nodeagent.ErrLeave) || errors.Is(err, nodeagent.ErrUnwanted) {
		return leave(context.WithoutCancel(ctx), config, opts, log, err)
	}
	return err
}

// leave cleans the machine up, and says so where somebody is there to hear it.
func leave(ctx context.Context, config *rest.Config, opts nodeagent.Options, log logr.Logger, because error) error {
	log.Info("Leaving this machine", "because", because.Error())
	cleaning, cancel := context.WithTimeout(ctx, nodeagent.CleanupTime)
	defer cancel()
	if err := nodeagent.Cleanup(cleaning, opts, log); err != nil || !errors.Is(because, nodeagent.ErrUnwanted) {
		return err
	}
	saying, cancel := context.WithTimeout(ctx, signOffTimeout)
	defer cancel()
	return nodeagent.SignOff(saying, config, opts, log)
}

// bind makes the flags. --kubeconfig is controller-runtime's.
func bind(flags *flag.FlagSet, o *nodeagent.Options, cleanup *bool) {
	flags.StringVar(&o.NodeName, "node-name", o.NodeName, "name of this machine's Node and MiniNode")
	flags.TextVar(&o.NodeIP, "node-ip", o.NodeIP, "IPv4 address by which other nodes reach this one; found out when empty")
	flags.StringVar(&o.ContainerdAddress, "containerd-address", o.ContainerdAddress, "path of containerd's socket")
	flags.StringVar(&o.ContainerdNamespace, "containerd-namespace", o.ContainerdNamespace, "containerd's namespace for MiniPods")
	flags.StringVar(&o.StateDir, "state-dir", o.StateDir, "directory for what the machine's next start may forget: pinned namespaces, addresses")
	flags.StringVar(&o.RootDir, "root-dir", o.RootDir, "directory for logs, and for programs that outlive the agent")
	flags.StringVar(&o.CgroupParent, "cgroup-parent", o.CgroupParent, "cgroup above those of all MiniPods")
	flags.BoolVar(&o.RegisterNode, "register-node", o.RegisterNode, "keep the core Node and its Lease too, where no kubelet does")
	flags.TextVar(&o.PodCIDR, "pod-cidr", o.PodCIDR, "range of the addresses of all MiniPods of the cluster; as the manager's")
	flags.TextVar(&o.ServiceCIDR, "service-cidr", o.ServiceCIDR, "range of the virtual IPs of MiniServices; as the manager's")
	flags.Func("cluster-dns", "address of a DNS server that MiniPods with dnsPolicy ClusterFirst ask, as the kubelet's; several with commas between. Without it they ask the node's", func(s string) (err error) {
		o.ClusterDNS, err = addresses(s)
		return err
	})
	flags.StringVar(&o.ClusterDomain, "cluster-domain", o.ClusterDomain, "domain of the cluster's names, as the kubelet's: that of spec.subdomain, and in which MiniPods that ask --cluster-dns look for names first")
	flags.StringVar((*string)(&o.Encapsulation), "encapsulation", string(o.Encapsulation), "when packets between MiniPods of different nodes go through VXLAN: auto (to nodes on other links), always (for networks that drop addresses they did not give), or never (where routers know all ranges)")
	flags.StringVar((*string)(&o.IPTables), "iptables-backend", string(o.IPTables), "which kind of iptables rules are made with: nft, legacy, or auto for the one that the kubelet uses, or else others")
	flags.Int64Var(&o.MaxPods, "max-pods", o.MaxPods, "how many MiniPods this node takes")
	flags.Var(&quantity{&o.CPU}, "cpu", "cpu that MiniPods may ask for together; the machine's when empty")
	flags.Var(&byteQuantity{quantity{&o.Memory}}, "memory", "memory that MiniPods may ask for together; the machine's when empty")
	flags.Int64Var(&o.PIDs, "pids", o.PIDs, "processes and threads that MiniPods may have together; three quarters of the machine's when 0")
	flags.Int64Var(&o.PodMaxPIDs, "pod-max-pids", o.PodMaxPIDs, "processes and threads that one MiniPod may have; no limit of its own when 0")
	flags.StringVar(&o.PauseBinary, "pause-binary", o.PauseBinary, "program that keeps sandboxes, at a path that containerd sees too")
	flags.BoolVar(&o.InstallPause, "install-pause", o.InstallPause, "copy that program below the root directory and use it there; for an agent in a container")
	flags.StringVar(&o.ShimBinary, "shim-binary", o.ShimBinary, "server of miniplane's shim, which is installed below the root directory; empty for containerd's shim and runc")
	flags.StringVar(&o.RuncBinary, "runc-binary", o.RuncBinary, "runc to use instead of the one in containerd's path")
	flags.StringVar(&o.HealthAddress, "health-address", o.HealthAddress, "address of /healthz, /readyz and /metrics; empty turns them off")
	flags.DurationVar(&o.Resync, "resync-period", o.Resync, "time between two looks at everything on the machine")
	flags.StringVar(&o.DaemonSet, "daemonset", o.DaemonSet, "NAMESPACE/NAME of the DaemonSet that this agent belongs to: when that is deleted, and no other of the agents' wants the node, the agent does as with --cleanup before it ends; when it no longer wants the node, the agent leaves it")
	flags.DurationVar(&o.GracePeriod, "grace-period", o.GracePeriod, "how long this agent may take to end, as terminationGracePeriodSeconds of its Pod: when its DaemonSet no longer wants the node, it uses that until all MiniPods have moved")
	flags.BoolVar(cleanup, "cleanup", false, "end and remove everything that this agent ever made on this machine, and exit")
	flags.IntVar(&o.ParallelPulls, "max-parallel-image-pulls", o.ParallelPulls, "how many pulls of images may move bytes at a time")
	flags.DurationVar(&o.PullDeadline, "image-pull-progress-deadline", o.PullDeadline, "how long nothing may come of a pull before it is given up")
	flags.Var(&byteCount{&o.Logs.MaxSize}, "container-log-max-size", "size at which a container's log is put aside")
	flags.IntVar(&o.Logs.MaxFiles, "container-log-max-files", o.Logs.MaxFiles, "how many files of logs a container has, the one being written included")
	flags.Func("insecure-registry", "host:port of a registry to be spoken to by plain http; may be given several times", func(s string) error {
		o.InsecureRegistries = append(o.InsecureRegistries, s)
		return nil
	})
	flags.Func("v", "verbosity of the log: 0 for what matters, 1 for more (short for --zap-log-level)", func(s string) error {
		if s == "0" {
			s = "info"
		}
		return flags.Set("zap-log-level", s)
	})
}

// addresses reads a list of addresses with commas between; an empty one is none.
func addresses(list string) (out []netip.Addr, err error) {
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		address, err := netip.ParseAddr(word)
		if err != nil {
			return nil, err
		}
		out = append(out, address)
	}
	return out, nil
}

// quantity is a flag like 500m or 4Gi.
type quantity struct{ *resource.Quantity }

func (q *quantity) String() string {
	if q.Quantity == nil || q.IsZero() {
		return ""
	}
	return q.Quantity.String()
}

func (q *quantity) Set(s string) error {
	value, err := resource.ParseQuantity(s)
	*q.Quantity = value
	return err
}

// byteQuantity is one that reads best as 1Gi, also where it was given in bytes, as the downward API does.
type byteQuantity struct{ quantity }

func (q *byteQuantity) Set(s string) error {
	if err := q.quantity.Set(s); err != nil {
		return err
	}
	*q.Quantity = *resource.NewQuantity(q.Value(), resource.BinarySI)
	return nil
}

// byteCount is a number of bytes, like 10Mi.
type byteCount struct{ bytes *int64 }

func (b *byteCount) String() string {
	if b.bytes == nil {
		return ""
	}
	return resource.NewQuantity(*b.bytes, resource.BinarySI).String()
}

func (b *byteCount) Set(s string) error {
	value, err := resource.ParseQuantity(s)
	if err == nil {
		*b.bytes = value.Value()
	}
	return err
}

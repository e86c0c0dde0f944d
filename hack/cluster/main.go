//go:build linux

// Command cluster runs a local Kubernetes cluster with miniplane on one Linux machine: etcd, kube-apiserver,
// kube-controller-manager and miniplane's manager as processes, and nodes that are network namespaces with a containerd
// and an agent each. No kubelet, Docker, registry or internet.
//
// The idea: everything that is made has a name that follows from the layout, and every process is in one cgroup. So "up"
// can ask of each part whether it is there, "down" can find all of it without having been told, and both can be
// interrupted anywhere. What makes it hard is leaving a machine as it was: processes outlive their parents, mounts outlive
// processes, namespaces outlive names. Sweep therefore removes in the order in which one keeps the other alive, and looks
// again afterwards.
//
// See docs/local-cluster.md for addresses, logs and the faults that can be injected.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type options struct {
	nodes    int
	instance int
	without  string
	mode     string
	limits   string
	shim     string
	strict   bool
}

// The main goroutine keeps the main thread, so that no other goroutine can change that thread's namespaces or end it.
func init() { runtime.LockOSThread() }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage())
	}
	for _, v := range verbs {
		if v.name == args[0] {
			return v.call(args[1:])
		}
	}
	return fmt.Errorf("there is no command %q\n%s", args[0], usage())
}

func (v verb) call(args []string) error {
	var o options
	flags := flag.NewFlagSet(v.name, flag.ExitOnError)
	flags.IntVar(&o.nodes, "nodes", 0, "number of nodes; 2, or 1 in a full cluster, if not given (up)")
	flags.StringVar(&o.mode, "mode", "local", "local, or full for one with all of Kubernetes and without miniplane (up)")
	flags.StringVar(&o.limits, "limits", limitsDefault, "limits of a full cluster's own parts towards the API server: default or raised (up)")
	flags.StringVar(&o.shim, "shim", shimOwn, "shim that starts the containers of a local cluster: own, or runc for containerd's (up)")
	flags.StringVar(&o.without, "without", "", "leave out manager, agent or both, separated by a comma, to run your own (up)")
	flags.BoolVar(&o.strict, "strict", false, "fail if an agent left something behind at its clean-up (down)")
	flags.IntVar(&o.instance, "instance", 0, "number of a cluster beside the usual one, for tests")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < v.nargs || (flags.NArg() > v.nargs && v.name != "exec") {
		return fmt.Errorf("usage: cluster %s %s", v.name, v.args)
	}
	if os.Geteuid() != 0 {
		return errors.New("a local cluster needs root, to make network namespaces and containers")
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	if o.instance < 0 || o.instance > maxInstance {
		return fmt.Errorf("-instance must be 0 to %d", maxInstance)
	}
	c := newCluster(Layout{Root: root, Instance: o.instance}, &Report{out: os.Stderr, every: 10 * time.Second})
	for _, part := range strings.FieldsFunc(o.without, func(r rune) bool { return r == ',' }) {
		c.without[part] = true
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = v.run(ctx, c, o, flags.Args())
	if ctx.Err() != nil {
		return errors.New("interrupted; make cluster-up goes on from here, make cluster-down removes what is there")
	}
	return err
}

func usage() string {
	var b strings.Builder
	b.WriteString("usage: cluster COMMAND [FLAGS] [ARGUMENTS]\n")
	for _, v := range verbs {
		fmt.Fprintf(&b, "  %-30s %s\n", v.name+" "+v.args, v.does)
	}
	b.WriteString("Flags come before arguments; cluster COMMAND -h lists them.")
	return b.String()
}

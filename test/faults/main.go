// Command faults does harm to a cluster with miniplane, fault by fault, and prints one Markdown table of what came of it.
//
// The idea: MiniPods that nobody may touch run all the time, some of them behind a service. While a fault happens, and until
// everything is well again, they are watched from outside of the product: by the kernel's cgroups, the service's answers, and the
// endpoints in the API server. Before and after, all that MiniPods have on the nodes and in the API server is listed (package leaks).
// Each fault promises what it does at most, which is mostly nothing, and a promise that is not kept fails the run.
//
// The table of faults is in faults.go; a fault is data: how it is done and undone, how long it lasts, how often, and its promise.
// Package sight counts, package report judges. What makes it hard: whatever happens, and also when the campaign is interrupted, a fault
// is undone; and the machine's clock, memory and disk belong to others too.
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

	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"miniplane.dev/miniplane/test/faults/report"
)

// The kinds of clusters that hack/cluster makes.
const (
	local = "local"
	full  = "full"
	// vm is a local one that has a machine to itself: docs/virtual-machines.md.
	vm = "vm"
)

// options of a run.
type options struct {
	kubeconfig, cluster, substrate string
	only                           string
	short                          bool
	pods                           int
	store, doc, from               string
}

func main() {
	o := options{}
	flag.StringVar(&o.kubeconfig, "kubeconfig", ".local/kubeconfig", "the cluster to harm; hack/cluster must have made it on this machine")
	flag.StringVar(&o.cluster, "cluster", "bin/cluster", "the program of hack/cluster")
	flag.StringVar(&o.substrate, "on", full, "what kind of cluster it is: full, local, or vm, a local one in a virtual machine")
	flag.StringVar(&o.only, "only", "", "faults to do, such as agent,shim-stop; all that the cluster can have when empty")
	flag.BoolVar(&o.short, "short", false, "do each a few times only")
	flag.IntVar(&o.pods, "pods", 80, "MiniPods that run all the time")
	flag.StringVar(&o.store, "store", ".local/faults/latest.json", "file with all rows; those of this run are put into it")
	flag.StringVar(&o.doc, "doc", "", "document whose table is written anew from that file")
	flag.StringVar(&o.from, "from", "", "file of rows that another machine's run wrote: put them into the store, and do no fault")
	list := flag.Bool("list", false, "list the faults, and do none")
	render := flag.Bool("render", false, "write the document's table from the file of rows, and do none")
	flag.Parse()
	ctrllog.SetLogger(zap.New())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, o, *list, *render); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, o options, list, render bool) error {
	chosen, err := choose(o.only)
	switch {
	case err != nil:
		return err
	case list:
		fmt.Print(listing(chosen))
		return nil
	case render:
		return save(o, nil)
	case o.from != "":
		rows, err := load(o.from)
		if err != nil {
			return err
		}
		return save(o, rows)
	}
	return run(ctx, o, possible(chosen, o.substrate))
}

func run(ctx context.Context, o options, chosen []fault) error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("it needs root on the Linux machine that the cluster runs on: processes are looked at and killed")
	}
	w, err := connect(ctx, o)
	if w != nil {
		defer w.close()
	}
	if err != nil {
		return err
	}
	var rows []report.Row
	for _, f := range chosen {
		if ctx.Err() != nil {
			break
		}
		row := w.campaign(ctx, f)
		rows = append(rows, row)
		tell(f.key, row)
		if err := save(o, []report.Row{row}); err != nil {
			return err
		}
	}
	fmt.Print(report.Markdown(rows))
	if ctx.Err() != nil {
		return errors.New("interrupted; what was done until then is written")
	}
	return verdict(rows)
}

// tell says at once what is wrong.
func tell(key string, row report.Row) {
	for _, broken := range row.Broken() {
		say("%s: BROKEN: %s", key, broken)
	}
	for _, leak := range row.Leaks[:min(20, len(row.Leaks))] {
		say("%s: left behind: %s", key, leak)
	}
}

func verdict(rows []report.Row) error {
	var broken []string
	for _, row := range rows {
		if len(row.Broken()) > 0 {
			broken = append(broken, row.Fault)
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("promises are not kept: %s", strings.Join(broken, "; "))
	}
	return nil
}

// today is the date that rows carry.
func today() string { return time.Now().UTC().Format(time.DateOnly) }

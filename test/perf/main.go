// Command perf measures native Pods and MiniPods side by side on one full cluster of this machine, and prints one Markdown
// table with ratios.
//
// The idea: both sides run the same image with the same command, and are seen by the same eyes. A start is measured from the
// moment before the create request is sent to the moment a watch, in this process, shows the Pod Running. Nothing is read
// from logs or from components' own clocks. Rounds alternate, and so does who begins. Where Kubernetes' own parts hold themselves
// back, the same is measured again with their limits raised, against MiniPods of the same hour.
//
// The table of measurements is in measurements.go; how the sides differ is in side.go; what may be said of the figures is
// decided in package report, which refuses a ratio when a side failed.
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

	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// options of a run.
type options struct {
	kubeconfig string
	cluster    string
	node       string
	image      string
	sides      string
	limits     string
	rounds     int
	only       string
	quick      bool
	out        string

	singles, burst, kills, pods int
	hollowNodes, hollowPods     int
}

func flags() *options {
	o := &options{}
	flag.StringVar(&o.kubeconfig, "kubeconfig", ".local/kubeconfig", "the cluster to measure; it must run on this machine")
	flag.StringVar(&o.cluster, "cluster", "bin/cluster", "the program of hack/cluster, which restarts kubelets and sets limits")
	flag.StringVar(&o.node, "node", "mini-0", "node to measure on")
	flag.StringVar(&o.image, "image", "miniplane.dev/busybox:v1", "image to start; it must be on the node and have a sleep")
	flag.StringVar(&o.sides, "sides", "native,mini", "sides to measure; a cluster without a kubelet has mini alone")
	flag.StringVar(&o.limits, "limits", "default,raised", "limits of Kubernetes' own parts to measure under")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement")
	flag.StringVar(&o.only, "only", "", "figures to measure, such as P1,P2; all when empty")
	flag.BoolVar(&o.quick, "quick", false, "one round of few Pods: shows that the yardstick works, and nothing else")
	flag.StringVar(&o.out, "out", "docs/performance", "directory for the raw figures and the plots")
	flag.IntVar(&o.singles, "singles", 10, "starts one at a time, in each round")
	flag.IntVar(&o.burst, "burst", 60, "Pods of a burst")
	flag.IntVar(&o.kills, "kills", 5, "containers killed in each round")
	flag.IntVar(&o.pods, "pods", 0, "most Pods that a node is filled with; as many as it takes when zero")
	flag.IntVar(&o.hollowNodes, "hollow-nodes", 200, "nodes that exist in the API only")
	flag.IntVar(&o.hollowPods, "hollow-pods", 1000, "Pods that are bound to them")
	flag.Parse()
	if o.quick {
		o.rounds, o.singles, o.burst, o.kills, o.pods, o.hollowNodes, o.hollowPods = 1, 2, 5, 1, 8, 5, 20
	}
	return o
}

func main() {
	o := flags()
	ctrllog.SetLogger(zap.New())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *o); err != nil {
		fmt.Fprintln(os.Stderr, "perf:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("measuring needs root on the Linux machine that the cluster runs on: processes are looked at and killed")
	}
	wanted, err := choose(o.only)
	if err != nil {
		return err
	}
	b, err := connect(ctx, o)
	if err != nil {
		return err
	}
	defer b.cleanup()
	if err := b.facts(ctx); err != nil {
		return err
	}
	for limits := range strings.SplitSeq(o.limits, ",") {
		b.phase(ctx, limits, wanted)
	}
	metrics := metricsOf(wanted)
	fmt.Print(b.result.Markdown(metrics))
	if err := save(o.out, &b.result, metrics); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted; what was measured until then is written")
	}
	if n := len(b.result.Failures); n > 0 {
		return fmt.Errorf("%d measurements failed; their ratios are refused", n)
	}
	return complete(&b.result, wanted, strings.Split(o.limits, ","))
}

// Command perf measures a running cluster from outside, as its users feel it, and prints one Markdown table.
//
// A start is measured from the moment the create request is sent to the moment a watch, in this process, shows the MiniPod
// Running: the same definition that is used for native Pods. Nothing is read from logs or from the components' own
// clocks. The raw figures go to a JSON file beside the table.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// options of a run.
type options struct {
	kubeconfig string
	image      string
	node       string
	rounds     int
	pods       int
	out        string
	killAgent  string
	only       string
}

// bench is what every measurement uses.
type bench struct {
	options
	config    *rest.Config
	api       client.WithWatch
	namespace string
}

// figure is one row of the table.
type figure struct {
	ID     string    `json:"id"`
	Metric string    `json:"metric"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	Note   string    `json:"note,omitempty"`
}

// measurement produces figures.
type measurement struct {
	name string
	run  func(context.Context, *bench) ([]figure, error)
}

var measurements = []measurement{
	{"latency", startLatency},
	{"burst", burst},
	{"writes", writesPerPod},
	{"recovery", recovery},
}

func main() {
	var o options
	flag.StringVar(&o.kubeconfig, "kubeconfig", ".local/kubeconfig", "the cluster to measure")
	flag.StringVar(&o.image, "image", "miniplane.dev/busybox:v1", "image to start; it must be on the node")
	flag.StringVar(&o.node, "node", "mini-0", "node to measure on")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement")
	flag.IntVar(&o.pods, "pods", 500, "MiniPods that run while the agent is killed")
	flag.StringVar(&o.out, "out", ".local/bench.json", "file for the raw figures")
	flag.StringVar(&o.killAgent, "kill-agent", "", "command that kills the node's agent with SIGKILL and starts it again; without it recovery is not measured")
	flag.StringVar(&o.only, "only", "", "one measurement: latency, burst, writes or recovery")
	flag.Parse()
	ctrllog.SetLogger(zap.New())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "perf:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	b, err := connect(ctx, o)
	if err != nil {
		return err
	}
	defer b.cleanup()
	var figures []figure
	for _, m := range measurements {
		if o.only != "" && o.only != m.name {
			continue
		}
		fmt.Fprintf(os.Stderr, "perf: measuring %s\n", m.name)
		found, err := m.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		figures = append(figures, found...)
	}
	printTable(figures)
	return save(o.out, figures)
}

func connect(ctx context.Context, o options) (*bench, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = -1, -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, miniv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	api, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "perf-"}}
	if err := api.Create(ctx, ns); err != nil {
		return nil, err
	}
	return &bench{options: o, config: config, api: api, namespace: ns.Name}, nil
}

func (b *bench) cleanup() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.namespace}}
	if err := b.api.Delete(ctx, ns); err != nil {
		fmt.Fprintln(os.Stderr, "perf: deleting the namespace:", err)
	}
}

func printTable(figures []figure) {
	fmt.Println("| # | metric | unit | p50 | p99 | n | note |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, f := range figures {
		fmt.Printf("| %s | %s | %s | %.4g | %.4g | %d | %s |\n", f.ID, f.Metric, f.Unit,
			percentile(f.Values, 50), percentile(f.Values, 99), len(f.Values), f.Note)
	}
}

func save(path string, figures []figure) error {
	data, err := json.MarshalIndent(figures, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// percentile is the value at or above which p percent of the values do not reach further (nearest rank).
func percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := (p*len(sorted) + 99) / 100
	return sorted[max(rank, 1)-1]
}

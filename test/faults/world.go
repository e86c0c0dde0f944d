package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/leaks"
	"miniplane.dev/miniplane/test/perf/procs"
)

// patience is how long anything may take that has to come right after a fault, on a busy machine.
const patience = 3 * time.Minute

// world is the cluster with what runs on it.
type world struct {
	options
	api   client.WithWatch
	nodes []string
	// calm is the namespace of what nobody may touch, wild that of what comes and goes.
	calm, wild string
	kernel     kernel
}

func connect(ctx context.Context, o options) (*world, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst, config.Timeout = -1, -1, 30*time.Second
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), miniv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	w := &world{options: o}
	if w.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	var nodes miniv1.MiniNodeList
	if err := w.api.List(ctx, &nodes); err != nil {
		return nil, err
	}
	for _, node := range nodes.Items {
		w.nodes = append(w.nodes, node.Name)
		w.kernel.parents = append(w.kernel.parents, w.places(node.Name).Cgroup)
	}
	slices.Sort(w.nodes)
	slices.Sort(w.kernel.parents)
	w.kernel.parents = slices.Compact(w.kernel.parents)
	w.kernel.procs = procs.Reader{Root: "/proc"}
	if len(w.nodes) == 0 {
		return nil, errors.New("no node of the cluster has an agent")
	}
	return w, w.settle(ctx)
}

// settle makes the namespaces, and what is to run all the time.
func (w *world) settle(ctx context.Context) error {
	for _, name := range []*string{&w.calm, &w.wild} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "faults-"}}
		if err := w.api.Create(ctx, ns); err != nil {
			return err
		}
		*name = ns.Name
	}
	return w.startSteady(ctx)
}

// close has all that the campaign made deleted.
func (w *world) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, name := range []string{w.wild, w.calm} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := w.api.Delete(ctx, ns); err != nil {
			say("cleaning up: %v", err)
		}
	}
}

// places is where a node has what belongs to MiniPods.
func (w *world) places(node string) leaks.Places {
	if w.substrate != full {
		return leaks.Local(node)
	}
	return leaks.Full(node)
}

// command runs the program of hack/cluster.
func (w *world) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.cluster, args...)
	cmd.WaitDelay = time.Second // what a shell has started holds its output open
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", w.cluster, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// things lists all that MiniPods have, on the nodes and in the API server.
func (w *world) things(ctx context.Context) ([]string, error) {
	all, err := leaks.Objects(ctx, w.api)
	if err != nil {
		return nil, err
	}
	for _, node := range w.nodes {
		out, err := w.command(ctx, "exec", node, w.places(node).Script())
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", node, err)
		}
		for _, thing := range leaks.Parse(out) {
			all = append(all, node+": "+thing)
		}
	}
	slices.Sort(all)
	return all, nil
}

// left waits until nothing is there that was not before, and returns what is left of it when that takes too long.
// Rights to read stay for five minutes, and are waited for when nothing else is left.
func (w *world) left(ctx context.Context, before inventory) (left []string, err error) {
	left, err = w.leftWithin(ctx, patience/2, before)
	if len(left) > 0 && !slices.ContainsFunc(left, func(thing string) bool { return leaks.Kind(thing) != leaks.Grant }) {
		say("waiting for rights to read to end, which nobody uses: %s", strings.Join(left, ", "))
		return w.leftWithin(ctx, rightsStay+patience/2, before)
	}
	return left, err
}

// rightsStay is how long the manager keeps a right that nobody uses.
const rightsStay = 5 * time.Minute

func (w *world) leftWithin(ctx context.Context, limit time.Duration, before inventory) (left []string, err error) {
	waited := eventually(ctx, limit, "nothing left", func() error {
		after, err := w.inventory(ctx)
		if err != nil {
			return err
		}
		left = leaks.Left(before.things, after.things)
		for _, node := range w.nodes {
			left = append(left, more(node, before.gauges[node], after.gauges[node])...)
		}
		if len(left) > 0 {
			return errors.New(strings.Join(left, ", "))
		}
		return nil
	})
	if waited != nil && len(left) == 0 {
		return nil, waited
	}
	return left, nil
}

// eventually asks again and again what is still missing, until that is nothing. It is for what nobody tells of: ends of processes, and
// answers of an API server that may be away.
func eventually(ctx context.Context, limit time.Duration, what string, missing func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		still := missing()
		if still == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %s", what, limit, shorten(still.Error()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func shorten(text string) string {
	const most = 400
	if len(text) > most {
		return text[:most] + " …"
	}
	return text
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "faults: "+format+"\n", args...) }

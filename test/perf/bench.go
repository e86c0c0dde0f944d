package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/perf/procs"
	"miniplane.dev/miniplane/test/perf/report"
)

// readyLimit is how long anything may take to become ready on a busy machine.
const readyLimit = 2 * time.Minute

// marker is how long every measured container would sleep; nothing else on the machine sleeps so long.
const marker = "424242"

// clusterCgroups hold every process of a local cluster, and of MiniPods whose agent runs in a Pod.
var clusterCgroups = []string{"/miniplane-local", "/miniplane"}

// bench is what every measurement uses.
type bench struct {
	options
	sides     []side
	limits    string
	config    *rest.Config
	api       client.WithWatch
	namespace string
	procs     procs.Reader
	result    report.Result
	// serial tells the commands of measured containers apart, and serials which Pod has which.
	serial  atomic.Int64
	serials sync.Map
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
	b := &bench{options: o, config: config, api: api,
		procs:  procs.Reader{Root: "/proc", Cgroups: clusterCgroups, Workload: []string{"sleep", marker}},
		result: report.Result{Taken: time.Now(), Rounds: o.rounds}}
	for name := range strings.SplitSeq(o.sides, ",") {
		s, ok := sideOf(name)
		if !ok {
			return nil, fmt.Errorf("there is no side %q, only %s and %s", name, report.Native, report.Mini)
		}
		b.sides, b.result.Sides = append(b.sides, s), append(b.result.Sides, name)
	}
	return b, b.makeNamespace(ctx)
}

// makeNamespace makes one, and waits for the ServiceAccount that native Pods need.
func (b *bench) makeNamespace(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "perf-"}}
	if err := b.api.Create(ctx, ns); err != nil {
		return err
	}
	b.namespace = ns.Name
	return b.eventually(ctx, time.Minute, "the ServiceAccount of a new namespace", func() (bool, error) {
		err := b.api.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: "default"}, &corev1.ServiceAccount{})
		return err == nil, client.IgnoreNotFound(err)
	})
}

// eventually asks again and again: for what there is no watch of, or what is too far away from any figure to need one.
func (b *bench) eventually(ctx context.Context, limit time.Duration, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := done()
		if ok || (err != nil && ctx.Err() == nil) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s", what, limit)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (b *bench) cleanup() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for _, s := range b.sides {
		b.recover(s)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.namespace}}
	if err := b.api.Delete(ctx, ns); err != nil {
		say("deleting the namespace: %v", err)
	}
}

// recover removes what a failed measurement left, as far as it can, so that the next one is not spoilt by it.
func (b *bench) recover(s side) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := b.api.DeleteAllOf(ctx, s.pod(podOptions{}), client.InNamespace(b.namespace))
	if err == nil {
		err = b.eventually(ctx, 90*time.Second, "removing what is left", func() (bool, error) {
			list := s.list()
			err := b.api.List(ctx, list, client.InNamespace(b.namespace))
			n := 0
			_ = eachItem(list, func(client.Object) error { n++; return nil })
			return n == 0, err
		})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		say("cleaning up: %v", err)
	}
}

// command runs the program of hack/cluster.
func (b *bench) command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, b.cluster, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", b.cluster, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// setLimits has Kubernetes' own parts run with these limits.
func (b *bench) setLimits(ctx context.Context, limits string) error {
	b.limits = limits
	if !b.has(report.Native) {
		return nil
	}
	if err := b.command(ctx, "limits", limits); err != nil {
		return err
	}
	return b.noteSettings(ctx)
}

func (b *bench) has(name string) bool {
	for _, s := range b.sides {
		if s.name() == name {
			return true
		}
	}
	return false
}

// warmUp starts and ends one Pod. The first of all pays for what is made once, such as the first read of the image.
func (b *bench) warmUp(ctx context.Context, s side) error {
	t, err := b.track(ctx, s)
	if err != nil {
		return err
	}
	defer t.stop()
	name := fmt.Sprintf("warm-%s-%s", s.name(), b.limits)
	if _, err := b.start(ctx, s, []string{name}, 1, 1); err != nil {
		return err
	}
	if err := t.until(ctx, 2*time.Minute, name, func() bool { return t.counts.running == 1 }); err != nil {
		return err
	}
	return b.clear(ctx, s, t)
}

// start creates Pods, so many at a time, and returns when each was sent.
func (b *bench) start(ctx context.Context, s side, names []string, parallel int, grace int64) (map[string]time.Time, error) {
	return b.create(ctx, names, parallel, func(name string) client.Object {
		serial := b.serial.Add(1)
		b.serials.Store(name, serial)
		return s.pod(podOptions{namespace: b.namespace, name: name, image: b.image, grace: grace,
			command: []string{"sleep", marker, strconv.FormatInt(serial, 10)}})
	})
}

func (b *bench) create(ctx context.Context, names []string, parallel int, make func(name string) client.Object) (map[string]time.Time, error) {
	sent, mu := map[string]time.Time{}, sync.Mutex{}
	err := inParallel(names, parallel, func(name string) error {
		object := make(name)
		mu.Lock()
		sent[name] = time.Now()
		mu.Unlock()
		return b.api.Create(ctx, object)
	})
	return sent, err
}

// clear deletes all Pods of the tracker and waits until the last is gone from the API.
func (b *bench) clear(ctx context.Context, s side, t *tracker) error {
	if err := b.api.DeleteAllOf(ctx, s.pod(podOptions{}), client.InNamespace(b.namespace)); err != nil {
		return err
	}
	return t.until(ctx, 5*time.Minute, "deletion", func() bool { return t.counts.gone == t.counts.there })
}

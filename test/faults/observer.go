package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vishvananda/netns"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/thread"
	"miniplane.dev/miniplane/test/faults/report"
	"miniplane.dev/miniplane/test/faults/sight"
)

const (
	lookEvery = 250 * time.Millisecond
	askEvery  = 100 * time.Millisecond
	// answerTime is how long an answer may take on a busy machine before it counts as none.
	answerTime = 2 * time.Second
)

// observer watches from outside of the product while faults happen: the kernel for containers, the API server for endpoints, and
// the virtual IP, asked from a node, for answers.
type observer struct {
	w        *world
	steady   map[types.UID]string
	backends map[string]string
	address  string
	stop     context.CancelFunc
	tasks    sync.WaitGroup

	mu            sync.Mutex
	account       *sight.Account
	wrong, silent sight.Outage
	firstWrong    error
	firstSilent   string
	asked         int
	broken        error
}

// observe begins. What runs at this moment in the calm namespace is what nobody may touch.
func (w *world) observe(ctx context.Context) (*observer, error) {
	pods, err := w.minipods(ctx, w.calm)
	if err != nil {
		return nil, err
	}
	o := &observer{w: w, steady: map[types.UID]string{}}
	var containers []string
	for _, pod := range pods {
		o.steady[pod.UID] = pod.Name
		containers = append(containers, string(pod.UID)+"-"+containerName)
	}
	if o.backends, err = w.backends(ctx); err != nil {
		return nil, err
	}
	var service miniv1.MiniService
	if err := w.api.Get(ctx, client.ObjectKey{Namespace: w.calm, Name: "web"}, &service); err != nil {
		return nil, err
	}
	o.address = net.JoinHostPort(service.Status.ClusterIP, "80")
	o.account = sight.Begin(w.kernel.look(), containers)
	if gone := o.account.Gone(); len(gone) > 0 {
		return nil, fmt.Errorf("%d containers that the API server says are running have no process: %v", len(gone), gone)
	}
	ctx, o.stop = context.WithCancel(ctx)
	o.tasks.Go(func() { o.watchKernel(ctx) })
	o.tasks.Go(func() { o.watchEndpoints(ctx) })
	o.tasks.Go(func() { o.askService(ctx) })
	return o, nil
}

func (o *observer) watchKernel(ctx context.Context) {
	for tick := time.NewTicker(lookEvery); ; {
		look := o.w.kernel.look()
		o.mu.Lock()
		o.account.Add(look)
		o.mu.Unlock()
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// watchEndpoints notes each moment at which the slices are not what they should be. While the API server is away they cannot be
// seen, and do not change.
func (o *observer) watchEndpoints(ctx context.Context) {
	for ctx.Err() == nil {
		if err := o.followSlices(ctx); err != nil && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(lookEvery):
			}
		}
	}
}

func (o *observer) followSlices(ctx context.Context) error {
	var list discoveryv1.EndpointSliceList
	selector := []client.ListOption{client.InNamespace(o.w.calm), client.MatchingLabels{miniv1.ServiceNameLabel: "web"}}
	if err := o.w.api.List(ctx, &list, selector...); err != nil {
		return err
	}
	there := map[string]discoveryv1.EndpointSlice{}
	for _, slice := range list.Items {
		there[slice.Name] = slice
	}
	o.noteSlices(there)
	raw := &client.ListOptions{}
	raw.ApplyOptions(selector)
	options := raw.AsListOptions()
	options.ResourceVersion = list.ResourceVersion
	raw.Raw = options
	events, err := o.w.api.Watch(ctx, &list, raw)
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		slice, ok := event.Object.(*discoveryv1.EndpointSlice)
		if !ok {
			return errors.New("the watch of endpoints ended")
		}
		if there[slice.Name] = *slice; event.Type == watch.Deleted {
			delete(there, slice.Name)
		}
		o.noteSlices(there)
	}
	return nil
}

func (o *observer) noteSlices(there map[string]discoveryv1.EndpointSlice) {
	var list []discoveryv1.EndpointSlice
	for _, slice := range there {
		list = append(list, slice)
	}
	what := wrong(list, o.backends)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wrong.Note(what == nil, time.Now())
	if o.firstWrong == nil {
		o.firstWrong = what
	}
}

// askService asks the virtual IP from the first node, on a thread of its own in that node's network.
func (o *observer) askService(ctx context.Context) {
	err := thread.Spend(func() error {
		home, err := netns.GetFromName(o.w.nodes[0])
		if err != nil {
			return err
		}
		defer func() { _ = home.Close() }()
		if err := netns.Set(home); err != nil {
			return err
		}
		for ctx.Err() == nil {
			begin := time.Now()
			problem := o.ask()
			o.noteAnswer(problem, begin)
			select {
			case <-ctx.Done():
			case <-time.After(askEvery - min(askEvery, time.Since(begin))):
			}
		}
		return nil
	})
	if err != nil {
		o.mu.Lock()
		o.broken = err
		o.mu.Unlock()
	}
}

// noteAnswer counts a bad answer from when the question was asked, and a good one from when it was there.
func (o *observer) noteAnswer(problem string, begin time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	if problem == "" {
		o.silent.Note(true, time.Now())
		return
	}
	o.silent.Note(false, begin)
	if o.firstSilent == "" {
		o.firstSilent = problem
	}
}

// ask is one request by a connection of its own. It says what is wrong with the answer.
func (o *observer) ask() string {
	conn, err := net.DialTimeout("tcp4", o.address, answerTime)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err.Error()
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err.Error()
	}
	for _, name := range o.backends {
		if strings.Contains(string(answer), name) {
			return ""
		}
	}
	return fmt.Sprintf("an answer from somebody else: %q", answer)
}

// end stops observing, and writes what was seen into the row.
func (o *observer) end(ctx context.Context, row *report.Row) error {
	o.stop()
	o.tasks.Wait()
	o.account.Add(o.w.kernel.look())
	now := time.Now()
	row.Restarted = o.account.Restarts()
	row.Doubles = len(o.account.Doubles())
	row.Wrong, _ = o.wrong.Total(now)
	row.Silent, _ = o.silent.Total(now)
	if row.Silent > 0 {
		row.Notes = append(row.Notes, "the first answer that was missing: "+o.firstSilent)
	}
	if row.Wrong > 0 {
		row.Notes = append(row.Notes, "the first wrong endpoints: "+o.firstWrong.Error())
	}
	if o.asked == 0 {
		return errors.New("the service was never asked")
	}
	if o.broken != nil {
		return fmt.Errorf("asking the service: %w", o.broken)
	}
	return o.countLost(ctx, row)
}

// countLost counts the MiniPods that are not there any more, and those of which nothing runs.
func (o *observer) countLost(ctx context.Context, row *report.Row) error {
	pods, err := o.w.minipods(ctx, o.w.calm)
	if err != nil {
		return err
	}
	lost := map[string]bool{}
	for uid := range o.steady {
		lost[string(uid)] = true
	}
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			delete(lost, string(pod.UID))
		}
	}
	for _, container := range o.account.Gone() {
		lost[strings.TrimSuffix(container, "-"+containerName)] = true
	}
	row.Lost = len(lost)
	return nil
}

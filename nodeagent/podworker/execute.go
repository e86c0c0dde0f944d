package podworker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

// actionTimeout bounds one action. Actions are not cut short when the agent ends.
const actionTimeout = 2 * time.Minute

// change is what an action did to the observation.
type change func(*Observation)

// execute does actions side by side, and notes what they changed.
func (w *worker) execute(ctx context.Context, desired *miniv1.MiniPod, work []Action) {
	w.epoch.Add(1)
	defer w.epoch.Add(1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), actionTimeout)
	defer cancel()
	changes := make([]change, len(work))
	errs := make([]error, len(work))
	one := func(i int) {
		start := w.pool.Clock.Now()
		changes[i], errs[i] = w.do(ctx, desired, work[i])
		w.pool.measureAction(work[i].Type, w.pool.Clock.Since(start))
	}
	var group sync.WaitGroup
	for i := 1; i < len(work); i++ {
		group.Go(func() { one(i) })
	}
	one(0)
	group.Wait()
	for i, a := range work {
		// A signal that failed may have arrived nevertheless, and was tried for the first time.
		if changes[i] != nil && (errs[i] == nil || a.Type == KillContainer) {
			changes[i](&w.observed)
		}
		if errs[i] != nil {
			w.fail(desired, a, errs[i])
			continue
		}
		if proves(a) {
			delete(w.observed.Failures, failureKey(a))
		}
	}
}

// do does one action. It must not touch the observation, other actions being done at the same time; what it changed is in
// the answer.
func (w *worker) do(ctx context.Context, desired *miniv1.MiniPod, a Action) (change, error) {
	switch a.Type {
	case EnsureSandbox:
		return w.ensureSandbox(ctx, desired)
	case AttachNetwork:
		return w.attach(ctx)
	case WriteFiles:
		address := w.observed.Address
		return func(o *Observation) { o.FilesFor, o.Gone.Files = address, false },
			writeFiles(desired, address.String(), w.observed.Sandbox.Files)
	case LookupImage:
		return w.lookupImage(ctx, desired, a)
	case PullImage:
		return w.startPull(desired, a), nil
	case CreateContainer:
		return w.create(ctx, desired, a)
	case StartContainer:
		return w.start(ctx, a)
	case KillContainer:
		return w.kill(ctx, a)
	case LeaveTime:
		return w.leaveTime(a)
	case RemoveContainer, PruneContainer:
		return w.remove(ctx, a)
	case DetachNetwork:
		return func(o *Observation) { o.Address, o.Gone.Network = netip.Addr{}, true }, w.pool.Network.Detach(ctx, string(w.uid))
	case RemoveSandbox:
		return func(o *Observation) { o.Sandbox, o.Gone.Sandbox = nil, true }, w.pool.Sandboxes.Remove(ctx, string(w.uid))
	case RemoveFiles:
		return w.removeFiles(desired)
	case RemoveFinalizer:
		return nil, w.removeFinalizer(ctx, desired)
	}
	return nil, fmt.Errorf("unknown action %q", a.Type)
}

func (w *worker) ensureSandbox(ctx context.Context, desired *miniv1.MiniPod) (change, error) {
	made, err := w.pool.Sandboxes.Ensure(ctx, sandbox.Spec{
		PodUID: string(w.uid), Hostname: hostnameOf(desired), CgroupPath: w.pool.Layout.podCgroup(w.uid),
		CPUMillis: resources.Requests(&desired.Spec).MilliCPU, MaxPIDs: w.pool.Machine.PodMaxPIDs})
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return func(o *Observation) { o.Sandbox, o.Gone.Sandbox, o.Gone.Network = &made, false, false }, nil
}

func (w *worker) attach(ctx context.Context) (change, error) {
	address, err := w.pool.Network.Attach(ctx, string(w.uid), w.observed.Sandbox.Namespaces.Net)
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	return func(o *Observation) { o.Address, o.Gone.Network = address, false }, nil
}

func (w *worker) create(ctx context.Context, desired *miniv1.MiniPod, a Action) (change, error) {
	if a.Attempt > 0 { // the last run may have made anything of them
		if err := writeFiles(desired, w.observed.Address.String(), w.observed.Sandbox.Files); err != nil {
			return nil, err
		}
	}
	spec := containerSpec(w.pool.Layout, w.pool.Machine, desired, &w.observed, a)
	if err := os.MkdirAll(filepath.Dir(spec.LogPath), 0o750); err != nil && !stdio.NoRoom(err) {
		return nil, err
	}
	imageID := w.observed.Images[a.Container].ID
	err := w.pool.Runtime.Create(ctx, spec)
	switch {
	case errdefs.IsAlreadyExists(err):
		return func(*Observation) { w.refresh(ctx, spec.ID) }, nil
	case errdefs.IsNotFound(err):
		return func(o *Observation) { delete(o.Images, a.Container) }, nil // the image went away; look again
	case err != nil:
		return nil, err
	}
	return func(o *Observation) {
		delete(o.Images, a.Container)
		o.Gone.Files = false
		o.set(runtime.Container{ID: spec.ID, Labels: spec.Labels, Image: spec.Image, ImageID: imageID,
			State: runtime.StateCreated, CreatedAt: w.pool.Clock.Now()})
	}, nil
}

func (w *worker) start(ctx context.Context, a Action) (change, error) {
	err := w.pool.Runtime.Start(ctx, a.ID)
	switch {
	case errdefs.IsAlreadyExists(err), errdefs.IsNotFound(err):
		return func(*Observation) { w.refresh(ctx, a.ID) }, nil
	case runtime.IsUnanswered(err):
		w.somethingHappened(a.ID, "")
		return nil, err
	case err != nil:
		// What was half started is taken away, so that the next try begins clean.
		return nil, errors.Join(err, w.pool.Runtime.Remove(ctx, a.ID))
	}
	w.pool.measureStart(a.Attempt)
	started := w.pool.Clock.Now()
	return func(o *Observation) {
		if i := o.indexOf(a.ID); i >= 0 {
			o.Containers[i].State, o.Containers[i].StartedAt = runtime.StateRunning, started
		}
	}, nil
}

// kill sends a signal. That a SIGTERM is about to be sent for the first time is written down before, and that it was after.
func (w *worker) kill(ctx context.Context, a Action) (change, error) {
	now := w.pool.Clock.Now()
	sent := w.observed.Signals[a.ID]
	if a.Signal == runtime.SIGTERM && sent.Term.IsZero() {
		sent.Term = now
		w.record(w.pool.ends.begin, a.ID)
	}
	err := w.pool.Runtime.Kill(ctx, a.ID, a.Signal)
	if errdefs.IsNotFound(err) {
		return func(*Observation) { w.refresh(ctx, a.ID) }, nil
	}
	switch {
	case a.Signal != runtime.SIGTERM && err == nil:
		sent.Kill = now
	case a.Signal == runtime.SIGTERM:
		if sent.Unsure = err != nil; !sent.Unsure {
			w.record(w.pool.ends.sent, a.ID)
		}
	}
	return func(o *Observation) { o.Signals[a.ID] = sent }, err
}

// leaveTime writes down that the grace period of a container begins that cannot be sent a signal.
func (w *worker) leaveTime(a Action) (change, error) {
	sent := w.observed.Signals[a.ID]
	sent.Left = w.pool.Clock.Now()
	w.record(w.pool.ends.leave, a.ID)
	return func(o *Observation) { o.Signals[a.ID] = sent }, nil
}

// record writes down what is done to end a container. That it cannot be is no reason not to do it.
func (w *worker) record(line func(types.UID, string) error, id string) {
	if err := line(w.uid, id); err != nil {
		w.pool.Log.Info("Cannot write down that a container is ended; an agent that comes after this one begins its grace period again",
			"container", id, "err", err.Error())
	}
}

// remove removes a container, and the log of one that is pruned.
func (w *worker) remove(ctx context.Context, a Action) (change, error) {
	turn := w.pool.removals.take(context.Background(), nil)
	defer turn.giveBack()
	// The time of an action begins with its turn: waiting in line uses up none of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), actionTimeout)
	defer cancel()
	var err error
	if turn.lend(func() { err = w.pool.Runtime.Remove(ctx, a.ID) }); err != nil {
		return nil, err
	}
	if a.Type == PruneContainer {
		w.pool.Layout.removeLog(w.observed.Containers[w.observed.indexOf(a.ID)])
	}
	return func(o *Observation) { o.drop(a.ID) }, nil
}

// removeFiles removes what the MiniPod had in files, and at last the record of how its containers were ended.
func (w *worker) removeFiles(desired *miniv1.MiniPod) (change, error) {
	logs := ""
	if desired != nil {
		logs = w.pool.Layout.podLogDir(desired.Namespace, desired.Name, desired.UID)
	}
	if err := w.pool.Layout.removeFiles(w.uid, logs); err != nil {
		return nil, err
	}
	return func(o *Observation) { o.FilesFor, o.Gone.Files = netip.Addr{}, true }, w.pool.ends.remove(w.uid)
}

// proves tells whether the success of an action means that what failed before works now. A container works when it started.
func proves(a Action) bool { return a.Container == "" || a.Type == StartContainer }

// fail notes that an action failed.
func (w *worker) fail(desired *miniv1.MiniPod, a Action, err error) {
	key := failureKey(a)
	failure := w.observed.Failures[key]
	failure.At = w.pool.Clock.Now()
	failure.Message = wordsOf(err)
	w.pool.Log.Info("Failed; trying again later", "action", a.Type, "pod", w.uid, "container", a.Container+a.ID, "err", failure.Message)
	if failure.Reason = failureReason(a, err); runtime.IsUnanswered(err) {
		failure.Reason = ""
		w.observed.Failures[key] = failure
		return
	}
	if desired != nil && a.Container != "" {
		hash := specHash(containerNamed(desired, a.Container))
		if failure.SpecHash != hash {
			failure.Count = 0
		}
		failure.SpecHash = hash
	}
	failure.Count++
	w.observed.Failures[key] = failure
	if a.Type == StartContainer {
		w.observed.drop(a.ID)
	}
}

// failureKey is what a failure of the action keeps from being tried again.
func failureKey(a Action) string {
	switch a.Type {
	case LookupImage, PullImage, CreateContainer, StartContainer:
		return a.Container
	case EnsureSandbox, AttachNetwork, WriteFiles:
		return podWide
	}
	return teardown
}

// failureReason is what a waiting container shows.
func failureReason(a Action, err error) string {
	switch {
	case errors.Is(err, runtime.ErrSettings):
		return miniv1.ReasonCreateContainerConfig
	case a.Type == StartContainer:
		return miniv1.ReasonRunContainerError
	case a.Type == CreateContainer:
		return miniv1.ReasonCreateContainerError
	}
	return miniv1.ReasonContainerCreating
}

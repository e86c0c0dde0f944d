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
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/resources"
	"miniplane.dev/miniplane/nodeagent/names"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
	"miniplane.dev/miniplane/nodeagent/stdio"
)

// actionTimeout bounds one action. Actions are not cut short when the agent ends.
const actionTimeout = 2 * time.Minute

// signals are those of a plan in the runtime's terms.
var signals = map[podplan.Signal]runtime.Signal{podplan.StopSignal: runtime.StopSignal, podplan.SIGKILL: runtime.SIGKILL}

// change is what an action did to the observation.
type change func(*view)

// execute does actions side by side, and notes what they changed.
func (w *worker) execute(ctx context.Context, desired *miniv1.MiniPod, work []podplan.Action) {
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
		if changes[i] != nil && (errs[i] == nil || a.Type == podplan.KillContainer) {
			changes[i](&w.observed)
		}
		if errs[i] != nil {
			w.fail(desired, a, errs[i])
			continue
		}
		w.observed.Succeeded(a)
	}
}

// do does one action. It must not touch the observation, other actions being done at the same time; what it changed is in
// the answer.
func (w *worker) do(ctx context.Context, desired *miniv1.MiniPod, a podplan.Action) (change, error) {
	switch a.Type {
	case podplan.EnsureSandbox:
		return w.ensureSandbox(ctx, desired)
	case podplan.AttachNetwork:
		return w.attach(ctx, desired)
	case podplan.WriteFiles:
		return w.writeFiles(desired)
	case podplan.LookupImage:
		return w.lookupImage(ctx, desired, a)
	case podplan.PullImage, podplan.MakeVolumes, podplan.ReadEnvironment, podplan.RunHook:
		return w.startJob(desired, a), nil
	case podplan.CreateContainer:
		return w.create(ctx, desired, a)
	case podplan.StartContainer:
		return w.start(ctx, a)
	case podplan.KillContainer:
		return w.kill(ctx, a)
	case podplan.LeaveTime:
		return w.leaveTime(a)
	case podplan.BeginEnd, podplan.CancelEnd:
		return w.endOf(a), nil
	case podplan.RemoveContainer, podplan.PruneContainer:
		return w.remove(ctx, desired, a)
	}
	return w.takeAway(ctx, desired, a)
}

// writeFiles writes the MiniPod's files for the first time, and tells what a resolver has no room for.
func (w *worker) writeFiles(desired *miniv1.MiniPod) (change, error) {
	address := w.observed.Address
	leftOut, err := writeFiles(desired, address.String(), w.observed.box.Files, w.pool.Machine.Cluster)
	if err == nil && leftOut != "" && w.pool.Recorder != nil {
		w.pool.Recorder.Eventf(desired, nil, corev1.EventTypeWarning, miniv1.ReasonDNSConfigForming, actionStart, "%s", conditions.Note(leftOut))
	}
	return func(o *view) { o.FilesFor, o.Gone.Files = address, false }, err
}

// takeAway takes away one of the things that containers stood on.
func (w *worker) takeAway(ctx context.Context, desired *miniv1.MiniPod, a podplan.Action) (change, error) {
	switch a.Type {
	case podplan.DetachNetwork:
		return func(o *view) { o.Address, o.Gone.Network = netip.Addr{}, true }, w.pool.Network.Detach(ctx, string(w.uid))
	case podplan.RemoveSandbox:
		return func(o *view) { o.setBox(nil) }, w.pool.Sandboxes.Remove(ctx, string(w.uid))
	case podplan.RemoveVolumes:
		return w.removeVolumes(ctx)
	case podplan.RemoveFiles:
		return w.removeFiles(desired)
	case podplan.RemoveFinalizer:
		return nil, w.removeFinalizer(ctx, desired)
	}
	return nil, fmt.Errorf("unknown action %q", a.Type)
}

// startJob begins what waits for somebody else.
func (w *worker) startJob(desired *miniv1.MiniPod, a podplan.Action) change {
	switch a.Type {
	case podplan.PullImage:
		return w.startPull(desired, a)
	case podplan.MakeVolumes:
		return w.startVolumes(desired)
	case podplan.RunHook:
		return w.runHook(desired, a)
	}
	return w.readEnvironment(desired, a)
}

func (w *worker) ensureSandbox(ctx context.Context, desired *miniv1.MiniPod) (change, error) {
	hostname, err := names.Kernel(desired, w.pool.Machine.Cluster)
	if err != nil {
		return nil, err
	}
	made, err := w.pool.Sandboxes.Ensure(ctx, sandbox.Spec{
		PodUID: string(w.uid), Hostname: hostname, CgroupPath: w.pool.Layout.podCgroup(w.uid), Shape: shapeOf(&desired.Spec),
		CPUMillis: resources.Requests(&desired.Spec).MilliCPU, MaxPIDs: w.pool.Machine.PodMaxPIDs, MaxMemory: maxMemory(desired)})
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return func(o *view) { o.setBox(&made); o.Gone.Network = false }, nil
}

func (w *worker) attach(ctx context.Context, desired *miniv1.MiniPod) (change, error) {
	if desired.Spec.HostNetwork { // nobody plans it: what is attached to the network is a network namespace of a MiniPod's own, and never the node's
		return nil, errors.New("network: a MiniPod in the node's network is not attached to it")
	}
	address, err := w.pool.Network.Attach(ctx, string(w.uid), w.observed.box.Namespaces.Net)
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	return func(o *view) { o.Address, o.Gone.Network = address, false }, nil
}

// specOf is what the runtime is told about one container, whose paths in volumes are looked up and made for it.
func (w *worker) specOf(desired *miniv1.MiniPod, a podplan.Action) (runtime.ContainerSpec, error) {
	spec, values, err := w.pool.containerSpec(desired, &w.observed, a)
	if err != nil {
		return spec, err
	}
	mounts, err := w.pool.volumeMounts(desired, podplan.ContainerNamed(desired, a.Container), values)
	if err != nil {
		return spec, fmt.Errorf("%w: %w", runtime.ErrSettings, err)
	}
	spec.Mounts = append(spec.Mounts, mounts...)
	spec.VolumesDir = w.pool.Volumes.OfImage(desired.UID, spec.ID)
	return spec, nil
}

func (w *worker) create(ctx context.Context, desired *miniv1.MiniPod, a podplan.Action) (change, error) {
	if a.Attempt > 0 { // the last run may have made anything of them
		if _, err := writeFiles(desired, w.observed.Address.String(), w.observed.box.Files, w.pool.Machine.Cluster); err != nil {
			return nil, err
		}
	}
	spec, err := w.specOf(desired, a)
	if err != nil {
		return nil, err
	}
	words, err := offerLastWords(w.observed.box.Files, podplan.ContainerNamed(desired, a.Container), a.Attempt)
	switch {
	case err == nil:
		spec.Mounts = append(spec.Mounts, words)
	case !stdio.NoRoom(err): // it runs without it, rather than not at all
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(spec.LogPath), 0o750); err != nil && !stdio.NoRoom(err) {
		return nil, err
	}
	spec.CopyTurn = func(ctx context.Context, do func()) { // others start meanwhile: how much it is, is the image's
		w.slot.giveBack()
		w.pool.copies.turn(ctx, desired.Namespace, do)
	}
	imageID := w.observed.Images[a.Container].ID
	err = w.pool.Runtime.Create(ctx, spec)
	switch {
	case errdefs.IsAlreadyExists(err):
		return func(*view) { w.refresh(ctx, spec.ID) }, nil
	case errdefs.IsNotFound(err):
		return func(o *view) { delete(o.Images, a.Container) }, nil // the image went away; look again
	case err != nil:
		return nil, err
	}
	return func(o *view) {
		delete(o.Images, a.Container)
		o.dropObjects(a.Container)
		o.Gone.Files, o.Gone.Volumes = false, o.Gone.Volumes && !there(spec.VolumesDir)
		o.Set(containerOf(runtime.Container{ID: spec.ID, Labels: spec.Labels, Image: spec.Image, ImageID: imageID, State: runtime.StateCreated}))
	}, nil
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (w *worker) start(ctx context.Context, a podplan.Action) (change, error) {
	err := w.pool.Runtime.Start(ctx, a.ID)
	switch {
	case errdefs.IsAlreadyExists(err), errdefs.IsNotFound(err):
		return func(*view) { w.refresh(ctx, a.ID) }, nil
	case runtime.IsUnanswered(err):
		w.somethingHappened(a.ID, "")
		return nil, err
	case err != nil:
		// What was half started is taken away, so that the next try begins clean.
		return nil, errors.Join(err, w.removeContainer(ctx, a.ID))
	}
	w.pool.measureStart(a.Attempt)
	started := w.pool.Clock.Now()
	return func(o *view) {
		if i := o.IndexOf(a.ID); i >= 0 {
			o.Containers[i].State, o.Containers[i].StartedAt = podplan.StateRunning, started
		}
	}, nil
}

// kill sends a signal. That the stop signal is about to be sent for the first time is written down before, and that it was after.
func (w *worker) kill(ctx context.Context, a podplan.Action) (change, error) {
	now := w.pool.Clock.Now()
	sent := w.observed.Signals[a.ID]
	if a.Signal == podplan.StopSignal && sent.Term.IsZero() {
		sent.Term = now
		sent.Failed = w.blame(a.ID)
		w.record(w.pool.ends.begin, a.ID)
	}
	err := w.pool.Runtime.Kill(ctx, a.ID, signals[a.Signal])
	if errdefs.IsNotFound(err) {
		return func(*view) { w.refresh(ctx, a.ID) }, nil
	}
	switch {
	case a.Signal != podplan.StopSignal && err == nil:
		sent.Kill = now
	case a.Signal == podplan.StopSignal:
		if sent.Unsure = err != nil; !sent.Unsure {
			w.record(w.pool.ends.sent, a.ID)
		}
	}
	return func(o *view) { o.Signals[a.ID] = sent }, err
}

// blame tells, and writes down, because of which probe a container is about to be ended; empty if it is for another reason.
func (w *worker) blame(id string) miniv1.ProbeKind {
	if known := w.observed.Signals[id].Failed; known != "" {
		return known
	}
	probe := w.observed.Health[id].Failed
	if probe != "" {
		w.record(w.pool.ends.failed(probe), id)
	}
	return probe
}

// leaveTime writes down that the grace period of a container begins that cannot be sent a signal.
func (w *worker) leaveTime(a podplan.Action) (change, error) {
	sent := w.observed.Signals[a.ID]
	sent.Left = w.pool.Clock.Now()
	w.record(w.pool.ends.leave, a.ID)
	return func(o *view) { o.Signals[a.ID] = sent }, nil
}

// endOf writes down that the end of the MiniPod begins, or that it goes on.
func (w *worker) endOf(a podplan.Action) change {
	var began time.Time
	line := w.pool.ends.goes
	if a.Type == podplan.BeginEnd {
		began, line = w.pool.Clock.Now(), w.pool.ends.over
	}
	if err := line(w.uid); err != nil {
		w.pool.Log.Info("Cannot write down that a MiniPod ends; an agent that comes after this one begins its grace period again",
			"pod", w.uid, "err", err.Error())
	}
	return func(o *view) { o.EndBegan = began }
}

// record writes down what is done at the begin and at the end of a container. That it cannot be is no reason not to do it.
func (w *worker) record(line func(types.UID, string) error, id string) {
	if err := line(w.uid, id); err != nil {
		w.pool.Log.Info("Cannot write down what is done to a container; an agent that comes after this one begins its hook, or its grace period, again",
			"container", id, "err", err.Error())
	}
}

// removeContainer removes a container, and what was its alone.
func (w *worker) removeContainer(ctx context.Context, id string) error {
	if err := w.pool.Runtime.Remove(ctx, id); err != nil {
		return err
	}
	if i := w.observed.IndexOf(id); i >= 0 && w.observed.box != nil {
		forgetLastWords(w.observed.box.Files, w.observed.Containers[i])
	}
	return w.pool.Volumes.RemoveOfImage(w.uid, id)
}

// remove removes a container, and the log of one that is pruned.
func (w *worker) remove(ctx context.Context, desired *miniv1.MiniPod, a podplan.Action) (change, error) {
	turn := w.pool.removals.take(context.Background(), nil)
	defer turn.giveBack()
	// The time of an action begins with its turn: waiting in line uses up none of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), actionTimeout)
	defer cancel()
	var err error
	if turn.lend(func() { err = w.removeContainer(ctx, a.ID) }); err != nil {
		return nil, err
	}
	if a.Type == podplan.PruneContainer {
		w.pool.Layout.removeLog(desired, w.observed.Containers[w.observed.IndexOf(a.ID)])
		if w.observed.Recorded(a.ID) {
			w.record(w.pool.ends.forget, a.ID)
		}
	}
	return func(o *view) { o.Drop(a.ID) }, nil
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
	return func(o *view) { o.FilesFor, o.Gone.Files = netip.Addr{}, true }, w.pool.ends.remove(w.uid)
}

// fail notes that an action failed.
func (w *worker) fail(desired *miniv1.MiniPod, a podplan.Action, err error) {
	words := wordsOf(err)
	w.pool.Log.Info("Failed; trying again later", "action", a.Type, "pod", w.uid, "container", a.Container+a.ID, "err", words)
	w.observed.Failed(desired, a, failureReason(a, err), words, w.pool.Clock.Now())
	if a.Type == podplan.CreateContainer {
		w.observed.dropObjects(a.Container) // the next try reads them again
	}
}

// failureReason is what a waiting container shows; empty when somebody just did not answer.
func failureReason(a podplan.Action, err error) string {
	switch {
	case runtime.IsUnanswered(err):
		return ""
	case errors.Is(err, runtime.ErrSettings):
		return miniv1.ReasonCreateContainerConfig
	case a.Type == podplan.StartContainer && !errors.Is(err, runtime.ErrNoRoom):
		return miniv1.ReasonRunContainerError
	case a.Type == podplan.CreateContainer, a.Type == podplan.StartContainer:
		return miniv1.ReasonCreateContainerError
	}
	return miniv1.ReasonContainerCreating
}

// maxWords bounds what an error says in a status and in the log, in bytes: a part of it can be a registry's or an image's words.
const maxWords = 1024

func wordsOf(err error) string { return conditions.Clip(err.Error(), maxWords) }

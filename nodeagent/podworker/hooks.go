package podworker

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/nodeagent/ask"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// hookAgent begins as a kubelet's: servers know hooks by it.
const hookAgent = "kube-lifecycle/1.37 (miniplane)"

// stopSignalOf is the signal by which the spec wants a container to be asked to end; 0 where it does not say.
func stopSignalOf(c *miniv1.Container) runtime.Signal {
	if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
		return 0
	}
	signal, _ := runtime.ParseSignal(string(*c.Lifecycle.StopSignal)) // the API has them all by their names
	return signal
}

// runHook begins a hook of a container, as a job. That it begins, and why the container is ended, is written down before.
func (w *worker) runHook(desired *miniv1.MiniPod, a podplan.Action) change {
	of := podplan.HookOf{ID: a.ID, Kind: a.Hook}
	hook, sent := w.observed.Hooks[of], w.observed.Signals[a.ID]
	if hook.Began.IsZero() {
		hook.Began = w.pool.Clock.Now()
		if of.Kind == miniv1.HookPreStop {
			sent.Failed = w.blame(a.ID)
		}
		w.record(w.pool.ends.hook(of.Kind), a.ID)
	}
	hook.Runs = true
	job := hookJob{pool: w.pool, namespace: desired.Namespace, of: of, spec: podplan.ContainerNamed(desired, a.Container), began: hook.Began, until: a.Until}
	if w.observed.Address.IsValid() {
		job.address = w.observed.Address.String()
	}
	return func(o *view) {
		o.SetHook(of, hook)
		if sent.Failed != "" {
			o.Signals[a.ID] = sent
		}
		// Not with the agent: a program in the container would end with it.
		ctx, cancel := context.WithCancel(context.WithoutCancel(w.pool.ctx))
		run := &hookRun{giveUp: cancel}
		w.hooks[of] = run
		w.beside(func() change {
			words := job.run(ctx)
			run.givenUp = ctx.Err() != nil
			return func(*view) { w.finishHook(of, run, words) }
		})
	}
}

// hookRun is a hook that runs.
type hookRun struct {
	giveUp  context.CancelFunc
	givenUp bool
}

// giveUpHooks ends those that nobody waits for any more.
func (w *worker) giveUpHooks() {
	for of, run := range w.hooks {
		if !w.observed.HookWanted(of) {
			run.giveUp()
		}
	}
}

// finishHook takes in how a hook ended, in words if badly, writes it down and tells people. That a container has ended is no failure of its hook.
func (w *worker) finishHook(of podplan.HookOf, run *hookRun, words string) {
	run.giveUp()
	if w.hooks[of] != run {
		return
	}
	delete(w.hooks, of)
	if words != "" {
		w.refresh(w.pool.ctx, of.ID)
	}
	i, hook := w.observed.IndexOf(of.ID), w.observed.Hooks[of]
	if i < 0 {
		return
	}
	c := w.observed.Containers[i]
	hook.Runs, hook.Ended, hook.Failed, hook.Words = false, true, words != "" && c.MayRun(), words
	w.record(w.pool.ends.hookEnded(of.Kind, hook.Failed), of.ID)
	w.observed.SetHook(of, hook)
	pod := w.latest()
	if !hook.Failed || run.givenUp || pod == nil || w.pool.Recorder == nil {
		return
	}
	reason, action := miniv1.ReasonFailedPostStartHook, actionStart
	if of.Kind == miniv1.HookPreStop {
		reason, action = miniv1.ReasonFailedPreStopHook, actionEnd
	}
	w.pool.Recorder.Eventf(pod, nil, corev1.EventTypeWarning, reason, action, "%s",
		conditions.Note(fmt.Sprintf("container %s: %s failed: %s", c.Name, of.Kind, words)))
}

// hookJob is a hook that is run.
type hookJob struct {
	pool *Pool
	of   podplan.HookOf
	spec *miniv1.Container
	// namespace and address of the MiniPod.
	namespace, address string
	// began is when it was first run, until when it is given up; zero for never.
	began, until time.Time
}

// run does it and tells how it failed; empty when it ended well.
func (j hookJob) run(ctx context.Context) string {
	hook := j.spec.Hook(j.of.Kind)
	if hook.Sleep != nil {
		return j.sleep(ctx, time.Duration(hook.Sleep.Seconds)*time.Second)
	}
	words := "it was given up before its turn came"
	j.pool.hooks.turn(ctx, j.namespace, func() {
		timeout := time.Duration(0) // as long as it takes
		if !j.until.IsZero() {
			if timeout = j.until.Sub(j.pool.Clock.Now()); timeout <= 0 {
				return
			}
		}
		if hook.Exec != nil {
			words = j.exec(ctx, hook.Exec, timeout)
		} else {
			words = j.get(ctx, hook.HTTPGet, timeout)
		}
	})
	return conditions.Clip(words, maxWords)
}

// sleep sleeps what is left of a time that began with the hook.
func (j hookJob) sleep(ctx context.Context, d time.Duration) string {
	wait := j.began.Add(d).Sub(j.pool.Clock.Now())
	if wait <= 0 {
		return ""
	}
	timer := j.pool.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C():
		return ""
	case <-ctx.Done():
		return "the sleep was cut short"
	}
}

func (j hookJob) exec(ctx context.Context, action *miniv1.ExecAction, timeout time.Duration) string {
	end, err := j.pool.Runtime.Exec(ctx, j.of.ID, runtime.Command{Args: action.Command, Timeout: timeout, MaxOutput: ask.MaxAnswer})
	if err != nil {
		return err.Error()
	}
	return ask.Failure(end, timeout)
}

// get asks by HTTP. Whatever is answered, it was heard.
func (j hookJob) get(ctx context.Context, action *miniv1.HTTPGetAction, timeout time.Duration) string {
	if timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ctx = limited
	}
	request, err := ask.Target{Spec: j.spec, Address: j.address}.Request(ctx, action, hookAgent)
	if err != nil {
		return err.Error()
	}
	if _, err = j.pool.asking.Do(request); err != nil {
		return ask.Unheard(request, err)
	}
	return ""
}

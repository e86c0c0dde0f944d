package prober

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
	"miniplane.dev/miniplane/nodeagent/ask"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

// askExec succeeds with exit code 0. A command that could not be started tells nothing of the container, as with a kubelet.
func (w *Watch) askExec(action *miniv1.ExecAction, timeout time.Duration) (result probe.Result, words string) {
	w.prober.Turn(w.ctx, w.target.Namespace, func() {
		end, err := w.prober.Exec(w.ctx, w.target.ID, runtime.Command{Args: action.Command, Timeout: timeout, MaxOutput: ask.MaxAnswer})
		result, words = judgeExec(end, err, timeout)
	})
	return result, words
}

func judgeExec(end runtime.Executed, err error, timeout time.Duration) (probe.Result, string) {
	switch {
	case runtime.IsUnanswered(err), end.TimedOut && end.Ran > timeout+late:
		return probe.Unknown, ""
	case err != nil:
		return probe.Unknown, err.Error()
	}
	if words := ask.Failure(end, timeout); words != "" {
		return probe.Failure, words
	}
	return probe.Success, ""
}

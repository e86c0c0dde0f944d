package podplan

import (
	"time"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const (
	// quietStart is how long a status is held back while it is about to change. The binding has said ContainerCreating
	// already, so that in a start without trouble, however crowded the node, nothing is worth a write before Running.
	quietStart = 30 * time.Second
	// quietPull is the same where only images are waited for, which may take long: people want to know.
	quietPull = 5 * time.Second
	// quietInit is the same while an init container runs: most take no longer.
	quietInit = 2 * time.Second
	// quietReady is the same while containers run that have not shown yet that they can serve: most soon do.
	quietReady = time.Second
	// quietChange is the same for a MiniPod that ran already: others must hear soon that it does not serve.
	quietChange = 2 * time.Second
)

// Quiet is how long a status is held back that is about to change by what is being done; 0 when nothing is.
func Quiet(pod *miniv1.MiniPod, o *Observation, work []Action) time.Duration {
	switch undecided := o.undecided(); {
	case !undecided && len(work) == 0 && pod.Status.Phase == miniv1.PodPending && o.initRuns(pod):
		return quietInit
	case !undecided && len(work) == 0 && pod.Status.Phase == miniv1.PodPending && o.awaitsReady(pod):
		return quietReady
	case !undecided && !o.busy(work):
		return 0
	case pod.Status.Phase != miniv1.PodPending || undecided:
		return quietChange
	case len(work) == 0: // pulling, or asking the API server, and nothing else is being done
		return quietPull
	}
	return quietStart
}

// busy tells whether the status is about to change by what is being done.
func (o *Observation) busy(work []Action) bool {
	for _, a := range work {
		if a.Type != PruneContainer {
			return true
		}
	}
	for _, image := range o.Images {
		if image.State == ImagePulling && image.Failures == 0 {
			return true
		}
	}
	return o.waits()
}

// initRuns tells whether an init container is at work, whose end changes the status.
func (o *Observation) initRuns(pod *miniv1.MiniPod) bool {
	for kind, c := range pod.Spec.AllContainers() {
		if kind == miniv1.ContainerInit && !o.left(part{spec: c}) {
			return true
		}
	}
	return false
}

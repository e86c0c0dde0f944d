package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/daemonset"
	"miniplane.dev/miniplane/internal/jitter"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/statuspatch"
	"miniplane.dev/miniplane/nodeagent/heartbeat"
)

// ErrUnwanted is how Run ends when the agent was told to end because its DaemonSet no longer wants this node, and all MiniPods have
// moved: what was made here should go, and then SignOff says so.
var ErrUnwanted = errors.New("the DaemonSet of this agent no longer wants this node, and all MiniPods have moved")

const (
	// CleanupTime is what of the grace period is kept for cleaning the machine.
	CleanupTime = 100 * time.Second
	// leastLinger is how long MiniPods have at least to move away, however short the grace period.
	leastLinger = 10 * time.Second
	// settle is how long the MiniNode must have said that it leaves before an empty node is believed to stay empty: what
	// the scheduler had decided before has come by then.
	settle = 5 * time.Second
	// endTimeout is how long the parts of an agent may take to end. There may be a long grace period, and the next agent waits.
	endTimeout = time.Minute
	// lingerEvery is the time between two looks at whether a node that is left is empty.
	lingerEvery = time.Second
)

// linger returns when an agent that was told to end should: at once, but for one case. Where its DaemonSet no longer wants this node,
// nobody comes after it, and it stays until the manager has had all MiniPods moved, and it has ended them (left), or until
// the node is wanted again, or the time is over. Whoever does not answer has said nothing: then it goes as in an upgrade, and all
// runs on.
func (a *agent) linger(working context.Context) (left bool) {
	why := a.unwanted(working)
	if why == "" {
		return false
	}
	a.log.Info("This node is to be left: waiting until its MiniPods have moved", "because", why)
	ctx, cancel := context.WithTimeout(working, max(a.opts.GracePeriod-CleanupTime-leastLinger, leastLinger))
	defer cancel()
	look := time.NewTicker(lingerEvery)
	defer look.Stop()
	var leavingSince time.Time
	for {
		leaves, empty := a.emptied(ctx)
		switch {
		case !leaves:
			leavingSince = time.Time{}
		case leavingSince.IsZero():
			leavingSince = time.Now()
		case empty && time.Since(leavingSince) >= settle:
			return true
		}
		select {
		case <-ctx.Done():
			if working.Err() != nil {
				return false // the agent's work has failed, and says so itself
			}
			a.log.Info("The time is over, and not all MiniPods have moved: they run on, and nobody ends them. Have the DaemonSet want this node again")
			return false
		case <-look.C:
		}
		if a.wanted(ctx) {
			a.log.Info("This node is wanted again")
			return false
		}
	}
}

// ask is what the DaemonSet says now about this node.
func (a *agent) ask(ctx context.Context) (daemonset.Answer, string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var sets appsv1.DaemonSetList
	if err := a.client.List(ctx, &sets, client.InNamespace(a.owner.key.Namespace)); err != nil {
		return 0, "", err
	}
	var node corev1.Node
	if err := a.client.Get(ctx, client.ObjectKey{Name: a.opts.NodeName}, &node); err != nil {
		return 0, "", err
	}
	answer, why, found := daemonset.AskAll(sets.Items, a.owner.key.Name, &node)
	if !found {
		return 0, "", fmt.Errorf("DaemonSet %s does not exist, or is being deleted", a.owner.key)
	}
	return answer, why, nil
}

// unwanted is why the DaemonSet no longer wants this node; "" where it does, or where nobody says so.
func (a *agent) unwanted(ctx context.Context) string {
	if a.owner == nil || a.owner.gone.Load() {
		return ""
	}
	answer, why, err := a.ask(ctx)
	switch {
	case err != nil:
		a.log.Info("Cannot find out whether this node is to be left; containers run on", "err", err.Error())
		return ""
	case answer != daemonset.Rejects:
		return ""
	}
	return why
}

// wanted tells whether the DaemonSet surely wants this node again, or was deleted, so that there is nothing to wait for.
func (a *agent) wanted(ctx context.Context) bool {
	if a.owner.gone.Load() {
		return true
	}
	answer, _, err := a.ask(ctx)
	return err == nil && answer == daemonset.Wants
}

// emptied tells whether the manager knows that the node leaves, and whether nothing of the MiniPods that are bound to it is here any more,
// past every cache. A MiniPod that this agent has let go of may be kept by others' finalizers for ever.
func (a *agent) emptied(ctx context.Context) (leaves, empty bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var node miniv1.MiniNode
	if err := a.client.Get(ctx, client.ObjectKey{Name: a.opts.NodeName}, &node); err != nil {
		return false, false
	}
	var pods miniv1.MiniPodList
	if err := a.client.List(ctx, &pods, client.MatchingFields{"status.nodeName": a.opts.NodeName}); err != nil {
		return isLeaving(&node), false
	}
	here := slices.ContainsFunc(pods.Items, func(pod miniv1.MiniPod) bool { return podstate.MayBeThere(&pod) })
	return isLeaving(&node), !here
}

func isLeaving(node *miniv1.MiniNode) bool {
	return meta.IsStatusConditionTrue(node.Status.Conditions, miniv1.ConditionLeaving)
}

// SignOff says that nothing of miniplane is left on this machine: in the agent's Lease, which nobody holds any more and which stays, so
// that every manager knows it of what is bound here too late; and in the MiniNode, so that the manager deletes it. It tries until ctx
// ends.
func SignOff(ctx context.Context, config *rest.Config, opts Options, log logr.Logger) error {
	a := &agent{opts: opts, log: log}
	if err := a.connect(config); err != nil {
		return err
	}
	var err error
	for ctx.Err() == nil {
		if err = a.signOff(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(jitter.Up(lingerEvery)):
		}
	}
	return fmt.Errorf("nothing is left here, and the MiniNode does not say so: %w", err)
}

func (a *agent) signOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := heartbeat.Release(ctx, a.client, a.opts.NodeName); err != nil {
		return err
	}
	var node miniv1.MiniNode
	if err := a.client.Get(ctx, client.ObjectKey{Name: a.opts.NodeName}, &node); err != nil {
		return client.IgnoreNotFound(err)
	}
	before := node.DeepCopy()
	conditions.Set(&node.Status.Conditions, metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionFalse,
		Reason: miniv1.ReasonAgentLeft, Message: "the agent has left: nothing of miniplane is left on this machine", ObservedGeneration: node.Generation})
	_, err := statuspatch.PatchShared(ctx, a.client, before, &node)
	return client.IgnoreNotFound(err)
}

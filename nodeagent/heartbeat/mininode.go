package heartbeat

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/conditions"
	"miniplane.dev/miniplane/internal/statuspatch"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

const (
	maxImages     = 100
	maxImageNames = 16
	// ownAddresses are those of a range that no MiniPod gets: the network's, the node's own and the last.
	ownAddresses = 3
	// joinPoll is the time between two looks at the cache for the range.
	joinPoll = 50 * time.Millisecond
)

// Join makes sure that the MiniNode exists and waits until the manager gave it a range of addresses.
func (h *Heart) Join(ctx context.Context) (netip.Prefix, error) {
	tended := time.Time{}
	for {
		node, err := h.miniNode(ctx)
		if err == nil && node.Status.PodCIDR != "" {
			if h.podCIDR, err = netip.ParsePrefix(node.Status.PodCIDR); err != nil {
				return netip.Prefix{}, fmt.Errorf("MiniNode %s: status.podCIDR: %w", h.NodeName, err)
			}
			return h.podCIDR, nil
		}
		if h.Clock.Since(tended) >= renewEvery {
			if tended != (time.Time{}) {
				h.Log.Info("Waiting for a range of addresses; the manager gives it", "mininode", h.NodeName)
			}
			tended = h.Clock.Now()
			h.tend(ctx)
			continue
		}
		select {
		case <-ctx.Done():
			return netip.Prefix{}, ctx.Err()
		case <-h.Clock.After(joinPoll):
		}
	}
}

// Tend keeps the MiniNode, and with Register the core Node, as they should be, until ctx ends.
func (h *Heart) Tend(ctx context.Context) {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { h.regularly(ctx, imagesEvery, func() { h.lookAtImages(ctx) }) })
	h.regularly(ctx, renewEvery, func() { h.tend(ctx) })
}

func (h *Heart) tend(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	unfit := h.askRuntime(ctx, h.Check(ctx))
	if h.Register {
		if err := h.tendNode(ctx, unfit); err != nil && ctx.Err() == nil {
			h.Log.Info("Cannot keep the Node; trying again", "err", err.Error())
		}
	}
	if err := h.tendMiniNode(ctx, unfit); err != nil && ctx.Err() == nil {
		h.Log.Info("Cannot keep the MiniNode; trying again", "err", err.Error())
	}
}

// miniNode reads the cache, and the API server when it is not there.
func (h *Heart) miniNode(ctx context.Context) (*miniv1.MiniNode, error) {
	node := &miniv1.MiniNode{}
	key := client.ObjectKey{Name: h.NodeName}
	err := h.Reader.Get(ctx, key, node)
	if apierrors.IsNotFound(err) {
		err = h.Client.Get(ctx, key, node)
	}
	return node, err
}

func (h *Heart) tendMiniNode(ctx context.Context, unfit error) error {
	before, err := h.miniNode(ctx)
	if apierrors.IsNotFound(err) {
		before = &miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: h.NodeName}}
		err = h.Client.Create(ctx, before)
	}
	if err != nil {
		return err
	}
	err = h.patchMiniNode(ctx, before, unfit)
	if !apierrors.IsConflict(err) {
		return err
	}
	// Somebody else wrote a condition, and the cache does not show it yet.
	now := &miniv1.MiniNode{}
	if err := h.Client.Get(ctx, client.ObjectKey{Name: h.NodeName}, now); err != nil {
		return err
	}
	return h.patchMiniNode(ctx, now, unfit)
}

func (h *Heart) patchMiniNode(ctx context.Context, before *miniv1.MiniNode, unfit error) error {
	after := before.DeepCopy()
	after.Status = h.miniNodeStatus(before, unfit)
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	if _, err := statuspatch.PatchShared(ctx, h.Client, before, after); err != nil {
		return err
	}
	h.tellRuntime(before, after)
	h.tellPeers(before, after)
	return nil
}

// tellRuntime tells people that the runtime went away, or is back, when that is stored.
func (h *Heart) tellRuntime(before, after *miniv1.MiniNode) {
	was, is := runtimeAway(before), runtimeAway(after)
	ready := meta.FindStatusCondition(after.Status.Conditions, miniv1.ConditionReady)
	switch {
	case h.Recorder == nil || was == is:
	case is:
		h.Recorder.Eventf(after, nil, corev1.EventTypeWarning, ready.Reason, "AskRuntime", "%s", conditions.Note(ready.Message))
	default:
		h.Recorder.Eventf(after, nil, corev1.EventTypeNormal, "ContainerRuntimeAnswers", "AskRuntime", "%s",
			conditions.Note("the container runtime answers again: "+after.Status.NodeInfo.ContainerRuntimeVersion))
	}
}

func runtimeAway(node *miniv1.MiniNode) bool {
	ready := meta.FindStatusCondition(node.Status.Conditions, miniv1.ConditionReady)
	return ready != nil && ready.Reason == miniv1.ReasonRuntimeNotReady
}

// askRuntime asks the runtime for its version, where that is not known or may have changed: it was away, or is. The answer is why no
// container can be started, if so.
func (h *Heart) askRuntime(ctx context.Context, unfit error) error {
	if h.Version == nil || unfit == nil && !h.away && h.Info.ContainerRuntimeVersion != "" {
		return unfit
	}
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	version, err := h.Version(ctx)
	if away := err != nil; away != h.away {
		h.Log.Info("Whether the container runtime answers has changed", "answers", !away)
		h.away = away
	}
	if err != nil {
		return fmt.Errorf("the container runtime does not answer: %w; containers run on, and nothing is started or ended until it is back", err)
	}
	h.Info.ContainerRuntimeVersion = version
	return unfit
}

// miniNodeStatus is what the status should be; unfit says why no container can be started, if so.
func (h *Heart) miniNodeStatus(node *miniv1.MiniNode, unfit error) miniv1.MiniNodeStatus {
	status := *node.Status.DeepCopy()
	status.ObservedGeneration, status.NodeIP, status.DaemonSet = node.Generation, h.NodeIP.String(), h.DaemonSet
	status.Capacity, status.Allocatable = h.Capacity.DeepCopy(), h.Allocatable.DeepCopy()
	pods := *resource.NewQuantity(maxPods(h.MaxPods, node.Status.PodCIDR), resource.DecimalSI)
	status.Capacity[corev1.ResourcePods], status.Allocatable[corev1.ResourcePods] = pods, pods
	status.NodeInfo = h.Info
	if images := h.listed(); images != nil {
		status.Images = images
	}
	ready := metav1.Condition{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue, Reason: miniv1.ReasonAgentReady,
		Message: "the agent can start containers", ObservedGeneration: node.Generation, LastTransitionTime: metav1.NewTime(h.Clock.Now())}
	switch {
	case node.Status.PodCIDR == "":
		if rangeless(node) {
			return status // the manager's word, and better than ours
		}
		ready.Status, ready.Reason = metav1.ConditionFalse, miniv1.ReasonPodCIDRPending
		ready.Message = "waiting for the manager to give the node a range of addresses"
	case h.podCIDR.IsValid() && node.Status.PodCIDR != h.podCIDR.String():
		ready.Status, ready.Reason = metav1.ConditionFalse, miniv1.ReasonAgentNotReady
		ready.Message = fmt.Sprintf("the MiniPods here have addresses of %s, and the manager now gives %s: drain the node and restart its agent",
			h.podCIDR, node.Status.PodCIDR)
	case unfit != nil:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, miniv1.ReasonAgentNotReady, unfit.Error()
		if h.away {
			ready.Reason = miniv1.ReasonRuntimeNotReady
		}
	}
	conditions.Set(&status.Conditions, ready)
	if pressure, known := h.pidPressure(node); known {
		conditions.Set(&status.Conditions, pressure)
	}
	h.setPeers(node, &status)
	return status
}

// rangeless tells whether the manager has said why the node gets no range.
func rangeless(node *miniv1.MiniNode) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == miniv1.ConditionReady && (c.Reason == miniv1.ReasonPodCIDRExhausted || c.Reason == miniv1.ReasonPodCIDRRefused)
	})
}

// maxPods is the number of MiniPods that the node takes: what was asked for, as far as there are addresses.
func maxPods(wanted int64, podCIDR string) int64 {
	prefix, err := netip.ParsePrefix(podCIDR)
	if err != nil || prefix.Addr().BitLen()-prefix.Bits() > 32 {
		return wanted
	}
	return min(wanted, max(0, int64(1)<<(prefix.Addr().BitLen()-prefix.Bits())-ownAddresses))
}

// lookAtImages renews the list of images. It takes its time beside everything else.
func (h *Heart) lookAtImages(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, imagesTimeout)
	defer cancel()
	images, err := h.Images(ctx)
	if err != nil {
		return // Check tells
	}
	list := imageList(images)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.images = list
}

// listed is the last list of images; nil before the first.
func (h *Heart) listed() []miniv1.ContainerImage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.images
}

// imageList is the largest images in the form of the status.
func imageList(images []runtime.Image) []miniv1.ContainerImage {
	out := make([]miniv1.ContainerImage, 0, len(images))
	for _, image := range images {
		names := slices.Sorted(slices.Values(image.Names))
		out = append(out, miniv1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: image.SizeBytes})
	}
	slices.SortFunc(out, func(a, b miniv1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), slices.Compare(a.Names, b.Names))
	})
	return out[:min(len(out), maxImages)]
}

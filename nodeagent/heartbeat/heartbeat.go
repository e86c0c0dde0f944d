// Package heartbeat tells the API server about the node: that its agent lives (a Lease), what the lane of the node has
// (MiniNode status), and, where no kubelet does it, that the node exists at all (core Node and its Lease).
//
// Idea. A Lease is the cheapest write there is, so it carries the sign of life and is renewed all the time. Everything else
// is compared with what is stored and written only when it differs, without a resourceVersion and only in the fields that
// are the agent's: the manager gives a MiniNode its range and marks lost agents, people label, taint and cordon Nodes, and
// none of that may be undone here.
//
// What makes it hard: any of the objects may be deleted at any time, by people or with a namespace, and must come back; and
// the renewal must go on while everything else waits or fails, because a node that stops renewing loses its MiniPods. A container
// runtime that is away is a condition of the node, and no reason to be silent.
package heartbeat

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/fabric"
	"miniplane.dev/miniplane/internal/jitter"
	"miniplane.dev/miniplane/nodeagent/runtime"
)

const (
	// renewEvery is the time between two renewals of the agent's Lease, and between two looks at the node.
	renewEvery = 4 * time.Second
	// nodeRenewEvery is the same for the core Node's Lease, as the kubelet does it.
	nodeRenewEvery = 10 * time.Second
	// imagesEvery is the least time between two changes of the list of images.
	imagesEvery = 30 * time.Second
	// requestTimeout bounds each request, so that one that hangs does not cost the Lease.
	requestTimeout = 3 * time.Second
	// runtimeTimeout bounds the question for the runtime's version.
	runtimeTimeout = 2 * time.Second
	// imagesTimeout bounds the listing of images, which may unpack those that were only imported.
	imagesTimeout = 10 * time.Minute
)

// Options describe the node.
type Options struct {
	// Client reads and writes at the API server itself. Reader reads the cache of what is watched: the own MiniNode, and
	// with Register the own core Node.
	Client client.Client
	Reader client.Reader

	NodeName string
	NodeIP   netip.Addr
	// Capacity is the machine's cpu and memory, Allocatable what of it the lane may promise.
	Capacity, Allocatable corev1.ResourceList
	// MaxPods bounds the number of MiniPods, besides the range of addresses.
	MaxPods int64
	// Register makes the agent keep the core Node too.
	Register bool
	// DaemonSet that keeps this agent, as NAMESPACE/NAME; "" for none.
	DaemonSet string
	// Check tells whether containers can be started here; the error says what to do.
	Check func(context.Context) error
	// PIDs counts the processes and threads of all MiniPods, and MaxPIDs is how many they may have together.
	PIDs    func() (int64, error)
	MaxPIDs int64
	// Fabric tells what is known of the network between the nodes: nil until somebody looked.
	Fabric func() *fabric.View
	// VXLANPort is the UDP port between the nodes, for people.
	VXLANPort int
	// Images lists the images that are present.
	Images func(context.Context) ([]runtime.Image, error)
	// Info about the machine; the runtime's version is added when the runtime has said it.
	Info miniv1.MiniNodeInfo
	// Version asks the container runtime for its version, which is how it is found out whether it answers.
	Version func(context.Context) (string, error)

	// Recorder tells people; nil to tell nobody.
	Recorder events.EventRecorder
	Log      logr.Logger
	Clock    clock.WithTicker
}

// Heart beats for one node.
type Heart struct {
	Options
	podCIDR netip.Prefix
	// away tells that the runtime did not answer when it was asked last.
	away bool

	mu     sync.Mutex
	images []miniv1.ContainerImage // nil until they were listed
}

// New makes a heart that does not beat yet.
func New(o Options) *Heart {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return &Heart{Options: o}
}

// Beat renews the Leases until ctx ends.
func (h *Heart) Beat(ctx context.Context) {
	if h.Register {
		go h.renewRegularly(ctx, corev1.NamespaceNodeLease, nodeRenewEvery)
	}
	h.renewRegularly(ctx, miniv1.SystemNamespace, renewEvery)
}

func (h *Heart) renewRegularly(ctx context.Context, namespace string, every time.Duration) {
	h.regularly(ctx, every, func() {
		if err := h.renew(ctx, namespace, every); err != nil && ctx.Err() == nil {
			h.Log.Info("Cannot renew the heartbeat; trying again", "lease", namespace+"/"+h.NodeName, "err", err.Error())
		}
	})
}

// regularly calls f now and then until ctx ends: not all agents in the same moment, for whatever reason they began in it.
func (h *Heart) regularly(ctx context.Context, every time.Duration, f func()) {
	for {
		f()
		timer := h.Clock.NewTimer(jitter.Around(every))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
	}
}

// renew is one write: a patch of the renewal time, or the creation of a Lease that is not there.
func (h *Heart) renew(ctx context.Context, namespace string, every time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now := metav1.NewMicroTime(h.Clock.Now())
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: h.NodeName}}
	patch := fmt.Appendf(nil, `{"spec":{"holderIdentity":%q,"renewTime":%q}}`, h.NodeName, now.UTC().Format(metav1.RFC3339Micro))
	err := h.Client.Patch(ctx, lease, client.RawPatch(types.MergePatchType, patch))
	if !apierrors.IsNotFound(err) {
		return err
	}
	duration := int32(every / time.Second * 4)
	lease = &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: h.NodeName},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &h.NodeName, RenewTime: &now, LeaseDurationSeconds: &duration},
	}
	return h.Client.Create(ctx, lease)
}

// Release is the opposite of a beat: the agent's Lease is held by nobody, because nothing of miniplane is left on the node. A Lease that
// is not there is released.
func Release(ctx context.Context, api client.Client, node string) error {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: miniv1.SystemNamespace, Name: node}}
	return client.IgnoreNotFound(api.Patch(ctx, lease, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"holderIdentity":null}}`))))
}

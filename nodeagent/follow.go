package nodeagent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jitter"
	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/podworker"
)

// retryWait is the wait between tries of what the agent cannot do without.
const retryWait = time.Second

// informerOf waits until there is an informer for the kind: the API server may be away, or not know the kind yet.
func informerOf(ctx context.Context, from cache.Cache, kind client.Object, log logr.Logger) (cache.Informer, error) {
	for {
		informer, err := from.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err == nil {
			return informer, nil
		}
		log.Info("Cannot watch; trying again. Are miniplane's CRDs installed?", "kind", fmt.Sprintf("%T", kind), "err", err.Error())
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(jitter.Up(retryWait)):
		}
	}
}

// followPods passes MiniPods to their workers, and returns when all that exist were passed.
func (a *agent) followPods(ctx context.Context, pool *podworker.Pool) error {
	informer, err := informerOf(ctx, a.cache, &miniv1.MiniPod{}, a.log)
	if err != nil {
		return err
	}
	handler, err := informer.AddEventHandler(handlerOf(
		func(o client.Object) { pool.Set(o.(*miniv1.MiniPod)) },
		func(o client.Object) { pool.Forget(o.GetUID()) },
	))
	if err != nil {
		return err
	}
	if !toolscache.WaitFor(ctx, "", handler.HasSyncedChecker()) {
		return ctx.Err()
	}
	return nil
}

// waysEvery is between two looks whether nodes are reached in another way than before, as when a link came.
const waysEvery = 10 * time.Second

// followPeers keeps the routes to the other nodes, and tells how they are reached.
func (a *agent) followPeers(ctx context.Context, net network.Network, ways chan []network.Way) error {
	informer, err := informerOf(ctx, a.cache, &miniv1.MiniNode{}, a.log)
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	kick := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { kick() },
		UpdateFunc: func(old, obj any) {
			if peerOf(old.(*miniv1.MiniNode)) != peerOf(obj.(*miniv1.MiniNode)) {
				kick()
			}
		},
		DeleteFunc: func(any) { kick() },
	})
	if err != nil {
		return err
	}
	if !toolscache.WaitFor(ctx, "", handler.HasSyncedChecker()) {
		return nil
	}
	look := time.NewTicker(waysEvery)
	defer look.Stop()
	told := ""
	for {
		var again <-chan time.Time
		if err := a.setPeers(ctx, net); err != nil {
			a.log.Info("Cannot set the routes to the other nodes; trying again", "err", err.Error())
			again = time.After(jitter.Up(retryWait))
		}
		tell(ways, net.Ways())
		if refused := strings.Join(net.Refused(), "; "); refused != told {
			a.log.Info("Ranges of other nodes that are not believed", "refused", refused)
			told = refused
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		case <-look.C:
		}
	}
}

// tell replaces what has not been heard yet.
func tell(ways chan []network.Way, now []network.Way) {
	select {
	case <-ways:
	default:
	}
	ways <- now
}

func (a *agent) setPeers(ctx context.Context, net network.Network) error {
	var nodes miniv1.MiniNodeList
	if err := a.cache.List(ctx, &nodes); err != nil {
		return err
	}
	var peers []network.Peer
	for i := range nodes.Items {
		if peer := peerOf(&nodes.Items[i]); peer.Name != a.opts.NodeName && peer.PodCIDR.IsValid() && peer.NodeIP.IsValid() {
			peers = append(peers, peer)
		}
	}
	slices.SortFunc(peers, func(a, b network.Peer) int { return strings.Compare(a.Name, b.Name) })
	return net.SetPeers(ctx, peers)
}

// peerOf is a node as a peer; its fields are invalid until they are known.
func peerOf(node *miniv1.MiniNode) network.Peer {
	peer := network.Peer{Name: node.Name, Created: node.CreationTimestamp.UTC()}
	peer.NodeIP, _ = netip.ParseAddr(node.Status.NodeIP)
	peer.PodCIDR, _ = netip.ParsePrefix(node.Status.PodCIDR)
	return peer
}

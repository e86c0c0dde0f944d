// Package controllers is the table of contents of the manager: every controller, with what it is given.
//
// Each lives in a package of its own, one file per phase. They share nothing but the cache, and speak to each other through
// the API server: the replica set creates MiniPods, the scheduler binds them, agents run them, endpoints follow their status.
package controllers

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"miniplane.dev/miniplane/controllers/daemonset"
	"miniplane.dev/miniplane/controllers/deployment"
	"miniplane.dev/miniplane/controllers/endpoints"
	"miniplane.dev/miniplane/controllers/eviction"
	"miniplane.dev/miniplane/controllers/gc"
	"miniplane.dev/miniplane/controllers/grants"
	"miniplane.dev/miniplane/controllers/job"
	"miniplane.dev/miniplane/controllers/node"
	"miniplane.dev/miniplane/controllers/quota"
	"miniplane.dev/miniplane/controllers/replicaset"
	"miniplane.dev/miniplane/controllers/scheduling"
	"miniplane.dev/miniplane/controllers/service"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/ipam"
	"miniplane.dev/miniplane/internal/nodelife"
	"miniplane.dev/miniplane/internal/sched/plugins/hostports"
)

// Options are what an administrator decides about the controllers.
type Options struct {
	// ServiceCIDR is the range of the virtual IPs, PodCIDR that of all MiniPods, and NodeMaskBits the size of one node's part.
	ServiceCIDR, PodCIDR netip.Prefix
	NodeMaskBits         int
	// NodePorts may be given to MiniServices.
	NodePorts ipam.PortRange
	// NodeGracePeriod is how long a node may be silent, EvictionWait how long its MiniPods are left alone after that, and
	// AgentAbsence the same where only its agent is silent. Brake says how fast silent nodes may be emptied.
	NodeGracePeriod, EvictionWait, AgentAbsence time.Duration
	Brake                                       nodelife.Brake
	// NoDrainMarkers: `kubectl drain` does not see MiniPods.
	NoDrainMarkers bool
	// ScoreWeights replace the default weights of the scheduler's scores, by name.
	ScoreWeights map[string]int64
	// ReservedPorts are those of nodes that no MiniPod may open, besides NodePorts.
	ReservedPorts []ipam.PortRange
}

// Cache is what the manager's cache has to hold: little of what others own, and nobody's managed fields.
func Cache() cache.Options {
	byObject := map[client.Object]cache.ByObject{}
	for _, of := range []map[client.Object]cache.ByObject{daemonset.ByObject(), endpoints.ByObject(), eviction.ByObject(), grants.ByObject(), node.ByObject(), scheduling.ByObject(), service.ByObject()} {
		maps.Copy(byObject, of)
	}
	return cache.Options{ByObject: byObject, DefaultTransform: cache.TransformStripManagedFields()}
}

// Setup adds all controllers to a manager whose cache was made with Cache.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	if err := index.Setup(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	for _, setup := range []func() error{
		// What people write becomes MiniPods …
		func() error { return deployment.Setup(mgr, deployment.Options{}) },
		func() error { return replicaset.Setup(mgr, replicaset.Options{}) },
		func() error { return daemonset.Setup(mgr, daemonset.Options{}) },
		func() error { return job.Setup(mgr, job.Options{}) },
		// … which get a node, within their namespace's quota …
		func() error {
			return scheduling.Setup(mgr, scheduling.Options{Weights: o.ScoreWeights, ReservedPorts: o.reservedPorts()})
		},
		func() error { return quota.Setup(mgr, quota.Options{}) },
		// … and are reached through services.
		func() error {
			return service.Setup(mgr, service.Options{ServiceCIDR: o.ServiceCIDR, NodePorts: o.NodePorts})
		},
		func() error { return endpoints.Setup(mgr, endpoints.Options{}) },
		// Nodes come and go.
		func() error {
			return node.Setup(mgr, node.Options{GracePeriod: o.NodeGracePeriod, EvictionWait: o.EvictionWait,
				AgentAbsence: o.AgentAbsence, Brake: o.Brake, PodCIDR: o.PodCIDR, NodeMaskBits: o.NodeMaskBits})
		},
		func() error { return eviction.Setup(mgr, eviction.Options{NoMarkers: o.NoDrainMarkers}) },
		// What MiniPods use of Secrets and ConfigMaps, their nodes' agents may read.
		func() error { return grants.Setup(ctx, mgr, grants.Options{}) },
		func() error { return gc.Setup(mgr, gc.Options{}) },
	} {
		if err := setup(); err != nil {
			return err
		}
	}
	return nil
}

// reservedPorts are all that no MiniPod may open on a node: node ports may be somebody's at any time.
func (o Options) reservedPorts() []hostports.Range {
	var out []hostports.Range
	for _, r := range append(slices.Clone(o.ReservedPorts), o.NodePorts) {
		if r.Last > 0 {
			out = append(out, hostports.Range{First: r.First, Last: r.Last})
		}
	}
	return out
}

package node

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/nodelife"
)

// Why a node is emptied.
const (
	whyLost         = "node_lost"
	whyAbsent       = "agent_absent"
	whyRestarted    = "machine_restarted"
	whyGone         = "node_gone"
	whyOutOfService = "out_of_service"
	whyLeaves       = "node_leaves"
)

var (
	evictions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_node_evictions_total",
		Help: "MiniPods deleted because of their node, by why: node_lost, agent_absent, machine_restarted, node_gone, out_of_service, node_leaves.",
	}, []string{"why"})
	losses = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_node_losses_total",
		Help: "Nodes that fell silent, by who did: agent (only the agent), node (the agent and the machine).",
	}, []string{"witness"})
	writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_node_status_writes_total",
		Help: "Statuses written in the place of a silent agent, by kind: mininode, minipod.",
	}, []string{"kind"})

	nodesDesc = prometheus.NewDesc("miniplane_node_nodes",
		"Nodes, by state: alive, unsure (not heard yet), agent_absent, machine_restarted, lost.", []string{"state"}, nil)
	leavingDesc = prometheus.NewDesc("miniplane_node_leaving_nodes",
		"Nodes that the DaemonSet of their agent no longer wants.", nil, nil)
	silentDesc = prometheus.NewDesc("miniplane_node_zone_silent_nodes",
		"Nodes of a zone whose agent is silent for half a grace period or more.", []string{"zone"}, nil)
	paceDesc = prometheus.NewDesc("miniplane_node_zone_pace",
		"1 for the pace at which silent nodes of a zone may be emptied: free, slow, stopped.", []string{"zone", "pace"}, nil)
)

func init() { metrics.Registry.MustRegister(evictions, losses, writes, fleetCollector{}) }

// atWork is the controller whose fleet is measured.
var atWork atomic.Pointer[reconciler]

// fleetCollector tells about the fleet as it is when it is asked.
type fleetCollector struct{}

// Describe is part of prometheus.Collector.
func (fleetCollector) Describe(out chan<- *prometheus.Desc) {
	out <- nodesDesc
	out <- leavingDesc
	out <- silentDesc
	out <- paceDesc
}

// Collect is part of prometheus.Collector.
func (fleetCollector) Collect(out chan<- prometheus.Metric) {
	r := atWork.Load()
	if r == nil {
		return
	}
	for state, n := range r.book.counts() {
		out <- prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, float64(n), state)
	}
	out <- prometheus.MustNewConstMetric(leavingDesc, prometheus.GaugeValue, float64(r.fleet.Leaving()))
	for name, zone := range r.fleet.Zones(r.now()) {
		out <- prometheus.MustNewConstMetric(silentDesc, prometheus.GaugeValue, float64(zone.Silent), name)
		out <- prometheus.MustNewConstMetric(paceDesc, prometheus.GaugeValue, 1, name, zone.Pace.String())
	}
}

// book remembers in which state each node was when it was looked at last.
type book struct {
	mu     sync.Mutex
	states map[string]nodelife.State
}

func newBook() *book { return &book{states: map[string]nodelife.State{}} }

func (b *book) note(node string, state nodelife.State) (before nodelife.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before = b.states[node]
	b.states[node] = state
	return before
}

func (b *book) forget(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.states, node)
}

func (b *book) counts() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]int{}
	for _, state := range b.states {
		out[stateName(state)]++
	}
	return out
}

func stateName(state nodelife.State) string {
	return map[nodelife.State]string{nodelife.Unsure: "unsure", nodelife.Alive: "alive", nodelife.Lost: "lost", nodelife.Absent: "agent_absent",
		nodelife.Restarted: "machine_restarted"}[state]
}

// follow counts who fell silent, and tells people who came back.
func (r *reconciler) follow(seen *nodelife.Observed) {
	if !seen.IsMember() {
		r.book.forget(seen.Name)
		return
	}
	state := seen.Life.State
	before := r.book.note(seen.Name, state)
	switch {
	case before == state:
	case state == nodelife.Lost:
		losses.WithLabelValues("node").Inc()
	case state == nodelife.Absent || state == nodelife.Restarted && before != nodelife.Absent:
		losses.WithLabelValues("agent").Inc()
	case state == nodelife.Alive && before != nodelife.Unsure && seen.MiniNode != nil:
		r.recorder.Eventf(seen.MiniNode, nil, corev1.EventTypeNormal, "AgentReturned", "Heartbeat", "the agent renews its heartbeat again")
	}
}

// whyEmptied is why MiniPods of a node are deleted.
func whyEmptied(seen *nodelife.Observed) string {
	switch {
	case !seen.NodeExists:
		return whyGone
	case seen.Life.State == nodelife.Alive || seen.Life.State == nodelife.Unsure:
		return whyLeaves
	case seen.Life.State == nodelife.Absent:
		return whyAbsent
	case seen.Life.State == nodelife.Restarted:
		return whyRestarted
	case seen.OutOfService != nil:
		return whyOutOfService
	}
	return whyLost
}

func kindOf(object client.Object) string {
	if _, ok := object.(*miniv1.MiniNode); ok {
		return "mininode"
	}
	return "minipod"
}

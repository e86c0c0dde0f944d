package network

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	restored = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_agent_network_restored_total",
		Help: "Routes, links, neighbours and kernel parameters of MiniPods' network that others removed or changed, and that were made again.",
	}, []string{"what"})
	peerRanges = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "miniplane_agent_network_peers",
		Help: "Other nodes, by how their MiniPods are reached: routed, encapsulated, or refused because of their range.",
	}, []string{"way"})
)

func init() { metrics.Registry.MustRegister(restored, peerRanges) }

// measureWays is called with peersMu held.
func (n *Node) measureWays() {
	encapsulated := 0
	for _, w := range n.ways {
		if w.vtep.IsValid() {
			encapsulated++
		}
	}
	peerRanges.WithLabelValues("routed").Set(float64(len(n.ways) - encapsulated))
	peerRanges.WithLabelValues("encapsulated").Set(float64(encapsulated))
	peerRanges.WithLabelValues("refused").Set(float64(len(n.refused)))
}

package node

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var rangesTakenBack = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "miniplane_node_ranges_taken_back_total",
	Help: "Ranges of addresses that a MiniNode claimed and another node had first.",
})

func init() { metrics.Registry.MustRegister(rangesTakenBack) }

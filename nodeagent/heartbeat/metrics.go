package heartbeat

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	lanePIDs = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "miniplane_agent_lane_pids",
		Help: "Processes and threads of all MiniPods of the node together.",
	})
	laneMaxPIDs = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "miniplane_agent_lane_pids_limit",
		Help: "Processes and threads that all MiniPods of the node may have together.",
	})
)

func init() { metrics.Registry.MustRegister(lanePIDs, laneMaxPIDs) }

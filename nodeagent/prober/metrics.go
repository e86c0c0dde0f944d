package prober

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
)

var (
	results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_agent_probes_total",
		Help: "Runs of containers' probes, by the probe (startup, readiness, liveness) and what came of them: success, failure, or unknown, from which nothing follows.",
	}, []string{"probe", "result"})
	durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "miniplane_agent_probe_duration_seconds",
		Help:    "How long runs of containers' probes took, by how they ask: exec, http, tcp, grpc.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
	}, []string{"by"})
	watched = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "miniplane_agent_probed_containers",
		Help: "Containers that are being probed.",
	})
)

func init() { metrics.Registry.MustRegister(results, durations, watched) }

func measure(kind miniv1.ProbeKind, by string, result probe.Result, took time.Duration) {
	results.WithLabelValues(string(kind), result.String()).Inc()
	durations.WithLabelValues(by).Observe(took.Seconds())
}

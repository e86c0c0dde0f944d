package scheduling

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"miniplane.dev/miniplane/internal/sched/queue"
)

// Results of attempts.
const (
	resultScheduled     = "scheduled"
	resultUnschedulable = "unschedulable"
	resultQuota         = "quota"
	resultPodSecurity   = "podsecurity"
	resultError         = "error"
)

var (
	attempts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_scheduler_attempts_total",
		Help: "Attempts to find a node for a MiniPod, by result: scheduled, unschedulable, quota, podsecurity; and writes that failed: error.",
	}, []string{"result"})
	decisionSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "miniplane_scheduler_decision_duration_seconds",
		Help:    "Time to decide about one MiniPod, without writing.",
		Buckets: prometheus.ExponentialBuckets(1e-6, 4, 10),
	})
	bindSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "miniplane_scheduler_bind_duration_seconds",
		Help:    "Time to write one binding to the API server.",
		Buckets: prometheus.ExponentialBuckets(1e-3, 2, 12),
	})
	queueDepth = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "miniplane_scheduler_queue_minipods",
		Help: "MiniPods in the scheduler, by where they are: active, backoff, waiting, in_flight.",
	}, []string{"queue"})
)

func init() { metrics.Registry.MustRegister(attempts, decisionSeconds, bindSeconds, queueDepth) }

func reportDepths(d queue.Depths) {
	queueDepth.WithLabelValues("active").Set(float64(d.Active))
	queueDepth.WithLabelValues("backoff").Set(float64(d.Backoff))
	queueDepth.WithLabelValues("waiting").Set(float64(d.Waiting))
	queueDepth.WithLabelValues("in_flight").Set(float64(d.InFlight))
}

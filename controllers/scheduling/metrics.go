package scheduling

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Results of attempts.
const (
	resultScheduled     = "scheduled"
	resultUnschedulable = "unschedulable"
	resultQuota         = "quota"
	resultPodSecurity   = "podsecurity"
	resultError         = "error"
	resultUnknown       = "unknown"
)

var (
	attempts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_scheduler_attempts_total",
		Help: "Attempts to find a node for a MiniPod, by result: scheduled, unschedulable, quota, podsecurity; and writes that failed: error, or had no answer: unknown.",
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
	unknownBindings = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "miniplane_scheduler_unknown_bindings",
		Help: "MiniPods of which the API server has not said whether their binding was written. They are charged, and written again.",
	})
	slowNamespaces = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "miniplane_scheduler_slow_namespaces",
		Help: "Namespaces whose writes share a few writers of their own, since one took too long or had no answer.",
	})
)

func init() {
	metrics.Registry.MustRegister(attempts, decisionSeconds, bindSeconds, queueDepth, unknownBindings, slowNamespaces)
}

// report sets the gauges.
func (s *Scheduler) report() {
	d := s.queue.Depths()
	queueDepth.WithLabelValues("active").Set(float64(d.Active))
	queueDepth.WithLabelValues("backoff").Set(float64(d.Backoff))
	queueDepth.WithLabelValues("waiting").Set(float64(d.Waiting))
	queueDepth.WithLabelValues("in_flight").Set(float64(d.InFlight))
	unknownBindings.Set(float64(s.cache.Doubts()))
	slowNamespaces.Set(float64(s.writers.slowNamespaces()))
}

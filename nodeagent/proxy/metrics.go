package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	syncSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "miniplane_agent_rules_sync_duration_seconds",
		Help:    "How long it took to bring iptables up to date with changes of services, endpoints, host ports and nodes.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
	})
	syncFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "miniplane_agent_rules_sync_failures_total",
		Help: "Attempts to bring iptables up to date that failed, and were made again.",
	})
	rulesRestored = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "miniplane_agent_rules_restored_total",
		Help: "How often somebody else had removed rules of MiniPods' services, and all were written again.",
	})
)

func init() { metrics.Registry.MustRegister(syncSeconds, syncFailures, rulesRestored) }

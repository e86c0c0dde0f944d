package pulls

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	pullsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_agent_image_pulls_total",
		Help: "Pulls of images that ended, by result: success, failure or canceled.",
	}, []string{"result"})
	pullSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "miniplane_agent_image_pull_duration_seconds",
		Help:    "How long pulls of images took from their turn on.",
		Buckets: prometheus.ExponentialBuckets(0.05, 2, 14),
	})
	pullBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "miniplane_agent_image_pull_bytes_total",
		Help: "Bytes that registries sent.",
	})
	waitingPulls = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "miniplane_agent_image_pulls_waiting",
		Help: "Pulls of images that wait for their turn.",
	})
)

func init() { metrics.Registry.MustRegister(pullsTotal, pullSeconds, pullBytes, waitingPulls) }

func measure(start time.Time, bytes int64, err error) {
	result := "success"
	switch {
	case errors.Is(err, context.Canceled):
		result = "canceled"
	case err != nil:
		result = "failure"
	}
	pullsTotal.WithLabelValues(result).Inc()
	pullSeconds.Observe(time.Since(start).Seconds())
	pullBytes.Add(float64(bytes))
}

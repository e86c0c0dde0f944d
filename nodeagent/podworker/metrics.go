package podworker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/podstate"
)

var (
	actionSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "miniplane_agent_action_duration_seconds",
		Help:    "How long the agent's actions took, by their type.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	}, []string{"action"})
	startSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "miniplane_agent_pod_start_duration_seconds",
		Help:    "Time from the agent's first sight of a MiniPod until the API server had stored that it runs.",
		Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
	})
	phaseSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "miniplane_agent_pod_start_phase_duration_seconds",
		Help:    "How long the parts of the first starts of MiniPods took, from status.startTimeline: schedule, bind, sandbox, init, images, start, ready.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18),
	}, []string{"phase"})
	restarts = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "miniplane_agent_container_restarts_total",
		Help: "Containers started again.",
	})
	conflicts = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "miniplane_agent_status_conflicts_total",
		Help: "Statuses of MiniPods that were made again because somebody else had written a condition meanwhile.",
	})
	statusWrites = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_agent_status_writes_total",
		Help: "Statuses of MiniPods written, by why: phase, ready (who serves), restarts, or other (reasons and messages).",
	}, []string{"why"})
	claims = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_agent_image_claims_total",
		Help: "Images that were on the node and not for everybody, by what a MiniPod that wanted one could show: a known credential, a new one that the registry took (pulled), or none (refused).",
	}, []string{"result"})
	volumeSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "miniplane_agent_volumes_duration_seconds",
		Help:    "How long it took to make the volumes of a MiniPod, or to bring their files up to date, and how it ended.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	}, []string{"result"})
	podCount = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "miniplane_agent_pods",
		Help: "MiniPods that the agent works on.",
	})
)

func init() {
	metrics.Registry.MustRegister(actionSeconds, startSeconds, phaseSeconds, restarts, conflicts, statusWrites, claims, volumeSeconds, podCount)
}

func (p *Pool) measureAction(action podplan.ActionType, took time.Duration) {
	actionSeconds.WithLabelValues(string(action)).Observe(took.Seconds())
}

// Results of claims.
const claimKnown, claimPulled, claimRefused = "known", "pulled", "refused"

func countClaim(result string) { claims.WithLabelValues(result).Inc() }

func (p *Pool) measureStart(attempt int) {
	if attempt > 0 {
		restarts.Inc()
	}
}

func (p *Pool) measureWritten(before, after *miniv1.MiniPod, takenUp time.Time) {
	statusWrites.WithLabelValues(whyWritten(before, after)).Inc()
	if before.Status.Phase == miniv1.PodPending && after.Status.Phase == miniv1.PodRunning {
		startSeconds.Observe(p.Clock.Since(takenUp).Seconds())
	}
	if told := after.Status.StartTimeline; told != nil && told.ReadyTime != nil && (before.Status.StartTimeline == nil || before.Status.StartTimeline.ReadyTime == nil) {
		for phase, took := range podplan.Phases(told) {
			phaseSeconds.WithLabelValues(phase).Observe(took.Seconds())
		}
	}
}

// whyWritten is the weightiest of what a write changed.
func whyWritten(before, after *miniv1.MiniPod) string {
	switch {
	case before.Status.Phase != after.Status.Phase:
		return "phase"
	case podstate.IsReady(before) != podstate.IsReady(after):
		return "ready"
	case before.Status.Restarts != after.Status.Restarts:
		return "restarts"
	}
	return "other"
}

func measureVolumes(took time.Duration, err error) {
	result := "made"
	if err != nil {
		result = "failed"
	}
	volumeSeconds.WithLabelValues(result).Observe(took.Seconds())
}

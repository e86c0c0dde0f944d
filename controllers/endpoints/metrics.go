package endpoints

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var lagSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "miniplane_endpoints_lag_seconds",
	Help:    "Time from the first news of a MiniPod that changes the endpoints of a MiniService until its EndpointSlices were stored.",
	Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
})

func init() { metrics.Registry.MustRegister(lagSeconds) }

// lag remembers since when a service has news that its slices do not tell.
type lag struct {
	mu    sync.Mutex
	since map[types.NamespacedName]time.Time
}

func newLag() *lag { return &lag{since: map[types.NamespacedName]time.Time{}} }

// begin notes that there is news, where there was none.
func (l *lag) begin(service types.NamespacedName, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, waits := l.since[service]; !waits {
		l.since[service] = now
	}
}

// take is since when there has been news, which are being told now; false if there are none.
func (l *lag) take(service types.NamespacedName) (since time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, ok = l.since[service]
	delete(l.since, service)
	return since, ok
}

// again puts back what could not be told.
func (l *lag) again(service types.NamespacedName, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since[service] = since
}

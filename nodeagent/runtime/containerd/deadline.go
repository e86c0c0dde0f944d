package containerd

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// unanswered counts by the last part of the method's name, as in "Get".
var unanswered = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "miniplane_agent_runtime_calls_unanswered_total",
	Help: "Calls to containerd that were not answered in time, by it or by a shim behind it.",
}, []string{"service", "call"})

// serverFailures counts containers.
var serverFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "miniplane_agent_server_failures_total",
	Help: "Containers whose server (the shim) failed, by what became of them: they survived, or ended with it.",
}, []string{"outcome"})

func init() { metrics.Registry.MustRegister(unanswered, serverFailures) }

// deadlines of calls, by the beginning of the method. Streams have none, nor have calls that take as long as an image is large.
var deadlines = []struct {
	method string
	within time.Duration
}{
	{"/containerd.services.tasks.v1.Tasks/Wait", time.Minute},
	{"/containerd.services.tasks.v1.Tasks/Get", 4 * time.Second}, // containerd itself gives a shim 2 s
	{"/containerd.services.tasks.v1.Tasks/", 30 * time.Second},
	{"/containerd.services.containers.v1.Containers/", 15 * time.Second},
	{"/containerd.services.version.v1.Version/", 5 * time.Second},
	{"/containerd.services.namespaces.v1.Namespaces/", 15 * time.Second},
	{"/containerd.services.images.v1.Images/", 15 * time.Second},
	{"/containerd.services.snapshots.v1.Snapshots/", time.Minute},
	{"/containerd.services.leases.v1.Leases/", time.Minute},
	{"/containerd.services.content.v1.Content/", time.Minute},
}

// bounded gives every call an end, and counts those that came to it.
func bounded(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	for _, d := range deadlines {
		if strings.HasPrefix(method, d.method) {
			limited, cancel := context.WithTimeout(ctx, d.within)
			defer cancel()
			ctx = limited
			break
		}
	}
	err := call(ctx, method, req, reply, conn, opts...)
	if status.Code(err) == codes.DeadlineExceeded && !strings.HasSuffix(method, "/Wait") { // which is answered when something happens
		service, name, _ := strings.Cut(strings.TrimPrefix(method, "/containerd.services."), "/")
		unanswered.WithLabelValues(service, name).Inc()
	}
	return err
}

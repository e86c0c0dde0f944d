package prober

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
	"miniplane.dev/miniplane/nodeagent/ask"
)

// askGRPC succeeds when the service says that it is SERVING.
func (w *Watch) askGRPC(ctx context.Context, action *miniv1.GRPCAction) (probe.Result, string) {
	address, err := w.target.asked().At("", intstr.FromInt32(action.Port))
	if err != nil {
		return probe.Unknown, err.Error()
	}
	var refused atomic.Pointer[error]
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
			c, err := w.prober.dialer.DialContext(ctx, "tcp", to)
			if err != nil {
				refused.Store(&err)
			}
			return c, err
		}),
		grpc.WithUserAgent(userAgent), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(ask.MaxAnswer)), grpc.WithMaxHeaderListSize(ask.MaxHeaders))
	if err != nil {
		return probe.Unknown, err.Error()
	}
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	answer, err := health.NewHealthClient(conn).Check(ctx, &health.HealthCheckRequest{Service: service})
	_ = conn.Close()
	switch {
	case err != nil && refused.Load() != nil:
		return failed(*refused.Load())
	case status.Code(err) == codes.Unimplemented:
		return probe.Failure, "the server does not speak the protocol grpc.health.v1: " + status.Convert(err).Message()
	case err != nil:
		return probe.Failure, "the health check failed: " + err.Error()
	case answer.GetStatus() != health.HealthCheckResponse_SERVING:
		return probe.Failure, fmt.Sprintf("service %q answers %s", service, answer.GetStatus())
	}
	return probe.Success, ""
}

package containerd

import (
	"context"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/api/services/diff/v1"
	"github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/services/leases/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"miniplane.dev/miniplane/test/testenv"
)

// TestCallsHaveDeadlines: no call to containerd waits for ever, but those that take as long as an image is large.
func TestCallsHaveDeadlines(t *testing.T) {
	asLongAsItTakes := map[string]bool{"/containerd.services.diff.v1.Diff/Apply": true, "/containerd.services.diff.v1.Diff/Diff": true}
	for _, service := range []grpc.ServiceDesc{tasks.Tasks_ServiceDesc, containers.Containers_ServiceDesc, images.Images_ServiceDesc,
		snapshots.Snapshots_ServiceDesc, leases.Leases_ServiceDesc, content.Content_ServiceDesc, namespaces.Namespaces_ServiceDesc,
		version.Version_ServiceDesc, diff.Diff_ServiceDesc} {
		for _, m := range service.Methods {
			method, ends := "/"+service.ServiceName+"/"+m.MethodName, false
			call := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
				_, ends = ctx.Deadline()
				return nil
			}
			if err := bounded(t.Context(), method, nil, nil, nil, call); err != nil || ends == asLongAsItTakes[method] {
				t.Errorf("%s: has a deadline: %v, %v", method, ends, err)
			}
		}
	}
}

// TestUnansweredCallsAreCounted: by service and call, and only those that came to their end.
func TestUnansweredCallsAreCounted(t *testing.T) {
	const method = "/containerd.services.tasks.v1.Tasks/Get"
	count := func() float64 {
		return testenv.Counted(t, "miniplane_agent_runtime_calls_unanswered_total", "tasks.v1.Tasks", "Get")
	}
	before := count()
	for _, code := range []codes.Code{codes.NotFound, codes.DeadlineExceeded} {
		call := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			return status.Error(code, "")
		}
		if err := bounded(t.Context(), method, nil, nil, nil, call); status.Code(err) != code {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	if got := count() - before; got != 1 {
		t.Errorf("%v calls were counted, want 1", got)
	}
}

package prober

import (
	"context"
	"fmt"
	"net/http"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
	"miniplane.dev/miniplane/nodeagent/ask"
)

// userAgent begins as a kubelet's: servers and proxies know probes by it.
const userAgent = "kube-probe/1.37 (miniplane)"

// askHTTP succeeds with an answer from 200 to 399. What the server says is not told, as by a kubelet: whoever may read Events could read by it what the node can reach.
func (w *Watch) askHTTP(ctx context.Context, action *miniv1.HTTPGetAction) (probe.Result, string) {
	request, err := w.target.asked().Request(ctx, action, userAgent)
	if err != nil {
		return probe.Unknown, err.Error()
	}
	status, err := w.prober.http.Do(request)
	switch {
	case err != nil:
		result, _ := failed(err)
		return result, ask.Unheard(request, err)
	case status >= http.StatusOK && status < http.StatusBadRequest:
		return probe.Success, ""
	}
	return probe.Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", status)
}

package prober

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/probe"
)

// userAgent begins as a kubelet's: servers and proxies know probes by it.
const userAgent = "kube-probe/1.37 (miniplane)"

// askHTTP succeeds with an answer from 200 to 399.
func (w *Watch) askHTTP(ctx context.Context, action *miniv1.HTTPGetAction) (probe.Result, string) {
	request, err := w.target.asked().Request(ctx, action, userAgent)
	if err != nil {
		return probe.Unknown, err.Error()
	}
	answer, err := w.prober.http.Do(request)
	switch {
	case err != nil:
		return failed(err)
	case answer.Status >= http.StatusOK && answer.Status < http.StatusBadRequest:
		return probe.Success, ""
	}
	words := fmt.Sprintf("HTTP probe failed with statuscode: %d", answer.Status)
	if text := strings.TrimSpace(string(answer.Body)); text != "" {
		words += ": " + text
	}
	return probe.Failure, words
}

package containerd

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

// A registry that speaks without TLS was reached, and what to do about it is another thing than about one that was not.
func TestRegistryWithoutTLS(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	host := server.Listener.Addr().String()
	answer, err := http.Get("https://" + host)
	if err == nil {
		_ = answer.Body.Close()
		t.Fatal("it speaks TLS")
	}
	err = explain(host+"/web:v1", runtime.RegistryAuth{}, err)
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), host+" speaks HTTP without TLS") || !strings.Contains(err.Error(), "--insecure-registry") {
		t.Error(err)
	}
}

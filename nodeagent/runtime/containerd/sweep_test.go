package containerd

import (
	"strings"
	"testing"
)

func TestShimOf(t *testing.T) {
	r := &Runtime{opts: Options{Namespace: "miniplane", Address: "/c.sock"}}
	const uid = "11111111-2222-3333-4444-555555555555"
	for line, want := range map[string]string{
		"/x/containerd-shim-runc-v2 -namespace miniplane -id " + uid + "-main-0 -address /c.sock":       uid + "-main-0",
		"/x/containerd-shim-runc-v2 -namespace k8s.io -id " + uid + "-main-0 -address /c.sock":          "",
		"/x/containerd-shim-runc-v2 -namespace miniplane -id " + uid + "-main-0 -address /other.sock":   "",
		"/x/containerd-shim-runc-v2 -namespace miniplane -id " + uid + "-main-0 -address /c.sock start": "",
		"sh -c containerd-shim-runc-v2 -namespace miniplane":                                            "",
		"": "",
	} {
		cmdline := strings.ReplaceAll(line, " ", "\x00") + "\x00"
		if id, ours := r.shimOf([]byte(cmdline)); ours != (want != "") || ours && id != want {
			t.Errorf("%q: %q %v", line, id, ours)
		}
	}
	if groupOf(uid+"-main-0") != uid || groupOf("short") != "short" {
		t.Error("groupOf")
	}
}

package imageaccess

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

func TestFitting(t *testing.T) {
	for _, test := range []struct {
		image string
		keys  []string
		want  []string
	}{
		{"docker.io/library/nginx:1", []string{"https://index.docker.io/v1/", "docker.io", "quay.io"}, []string{"https://index.docker.io/v1/", "docker.io"}},
		{"nginx", []string{"https://index.docker.io/v1/", "docker.io", "quay.io"}, []string{"https://index.docker.io/v1/", "docker.io"}},
		{"quay.io/team/app:1", []string{"quay.io", "quay.io/team", "quay.io/tea", "quay.io/team/app", "quay.io/team/app/x"},
			[]string{"quay.io/team/app", "quay.io/team", "quay.io"}},
		{"a.example.com/x:1", []string{"*.example.com", "example.com", "*.com", "a.example.com"}, []string{"*.example.com", "a.example.com"}},
		{"a.b.example.com/x:1", []string{"*.example.com", "*.*.example.com"}, []string{"*.*.example.com"}},
		{"reg.local:5000/x:1", []string{"reg.local", "reg.local:5000", "reg.local:5001", "http://reg.local:5000/v2/"},
			[]string{"reg.local:5000", "http://reg.local:5000/v2/", "reg.local"}},
		{"reg.local/x:1", []string{"reg.local:5000", "[", ""}, nil},
		{"UPPER", []string{"docker.io"}, nil},
	} {
		var auths []runtime.RegistryAuth
		for _, key := range test.keys {
			auths = append(auths, runtime.RegistryAuth{Registry: key, Username: "u"})
		}
		var got []string
		for _, auth := range Fitting(test.image, auths) {
			got = append(got, auth.Registry)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.image, diff)
		}
	}
}

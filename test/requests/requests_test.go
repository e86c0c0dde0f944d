package requests

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	got, err := parse(`# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="status",verb="PATCH",version="v1"} 7
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="POST",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1"} 99
apiserver_request_total{code="200",component="apiserver",dry_run="",group="miniplane.dev",resource="minipods",scope="namespace",subresource="",verb="DELETECOLLECTION",version="v1"} 1.5e+03
apiserver_request_total{code="0",verb="POST"} 3
apiserver_request_duration_seconds{resource="pods",verb="POST"} 5
`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{"pods": 9, "minipods": 1500}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBreakdown(t *testing.T) {
	r := result(
		sample("writes/pods", Native, "default", 0, 5), sample("writes/pods", Native, "default", 1, 7), sample("writes/pods", Native, "default", 2, 6),
		sample("writes/minipods", Mini, "default", 0, 5), sample("writes/tokens", Native, "default", 0, 1),
		sample("writes/nothing", Native, "default", 0, 0.0001), sample("writes/other", Native, "raised", 0, 9),
	)
	want := `P12 writes, writes, limits default:

| part | native p50 | mini p50 |
|---|---|---|
| minipods | – | 5 |
| pods | 6 | – |
| tokens | 1 | – |
`
	if diff := cmp.Diff(want, r.Breakdown(writes, "default")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := r.Breakdown(latency, "default"); got != "" {
		t.Errorf("a metric without parts: %q", got)
	}
}

package ranges

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	ours := []Range{{"--pod-cidr", netip.MustParsePrefix("100.64.0.0/11")}, {"--service-cidr", netip.MustParsePrefix("100.96.0.0/16")}}
	for name, tc := range map[string]struct {
		theirs []Range
		want   []string // parts of the error; none: no error
	}{
		"nothing":         {nil, nil},
		"beside":          {[]Range{{"x", netip.MustParsePrefix("100.97.0.0/16")}, {"y", netip.MustParsePrefix("10.0.0.0/8")}}, nil},
		"default route":   {[]Range{{"x", netip.MustParsePrefix("0.0.0.0/0")}}, nil},
		"IPv6":            {[]Range{{"x", netip.MustParsePrefix("fd00::/8")}}, nil},
		"inside":          {[]Range{{"the pod range of node a", netip.MustParsePrefix("100.70.1.0/24")}}, []string{"--pod-cidr 100.64.0.0/11 overlaps the pod range of node a, 100.70.1.0/24: choose"}},
		"around both":     {[]Range{{"a route", netip.MustParsePrefix("100.64.0.0/10")}}, []string{"--pod-cidr 100.64.0.0/11 overlaps a route", "--service-cidr 100.96.0.0/16 overlaps a route"}},
		"one address":     {[]Range{Addr("node a", netip.MustParseAddr("100.96.255.255"))}, []string{"--service-cidr 100.96.0.0/16 overlaps node a, 100.96.255.255/32"}},
		"address outside": {[]Range{Addr("node a", netip.MustParseAddr("100.97.0.0"))}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(ours, tc.theirs)
			if (err != nil) != (len(tc.want) > 0) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

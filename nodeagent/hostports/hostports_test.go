package hostports

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const header = "  sl  local_address rem_address   st tx_queue rx_queue\n"

func TestSockets(t *testing.T) {
	tcp := header +
		"   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n" + // any:22
		"   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n" + // 127.0.0.1:8080
		"   2: 0A00000A:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n" + // 10.0.0.10:443
		"   3: 00000000:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n" + // a connection
		"broken\n"
	tcp6 := header +
		"   0: 00000000000000000000000000000000:2382 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1 1\n" + // [::]:9090
		"   1: 00000000000000000000000001000000:2383 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1 1\n" + // [::1]:9091
		"   2: 0000000000000000FFFF00000100007F:2384 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1 1\n" // ::ffff:127.0.0.1
	udp := header +
		"   0: 00000000:0035 00000000:0000 07 0:0 0:0 0 0 0 1 1\n" + // any:53
		"   1: 00000000:8000 0100000A:0035 01 0:0 0:0 0 0 0 1 1\n" // a client
	taken := Taken{}
	for _, table := range []struct{ protocol, text string }{{"tcp", tcp}, {"tcp", tcp6}, {"udp", udp}} {
		if err := taken.Sockets(table.protocol, strings.NewReader(table.text)); err != nil {
			t.Fatal(err)
		}
	}
	want := Taken{{"tcp", 22}: listener, {"tcp", 443}: listener, {"tcp", 9090}: listener, {"udp", 53}: listener}
	if diff := cmp.Diff(want, taken); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRules(t *testing.T) {
	taken := Taken{}
	taken.Rules("x", []string{
		"-N CNI-HOSTPORT-DNAT",
		`-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"net\" id: \"1\"" -m multiport --dports 8080,8443 -j CNI-DN-1`,
		`-A CNI-HOSTPORT-DNAT -p udp -m multiport --dports 53 -j CNI-DN-2`,
		`-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment "ns/svc:http" -m tcp --dport 30080 -j KUBE-EXT-1`,
		`-A X -p tcp -m tcp --dport 7000:7002 -j Y`, `-A X -p tcp --dport`, `-A X -p tcp --dport 99999 -j Y`,
	})
	want := Taken{{"tcp", 8080}: "x", {"tcp", 8443}: "x", {"udp", 53}: "x", {"tcp", 30080}: "x", {"tcp", 7000}: "x", {"tcp", 7001}: "x", {"tcp", 7002}: "x"}
	if diff := cmp.Diff(want, taken); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := taken.Conflict([]Port{{"tcp", 53}, {"udp", 53}}); got != "port 53/udp of this node is that of x" {
		t.Error(got)
	}
	if got := taken.Conflict([]Port{{"tcp", 53}}); got != "" {
		t.Error(got)
	}
}

func FuzzTaken(f *testing.F) {
	f.Add("   0: 00000000:0016 00000000:0000 0A x", "-p tcp --dports 1:3,9")
	f.Fuzz(func(t *testing.T, table, rule string) {
		taken := Taken{}
		_ = taken.Sockets("tcp", strings.NewReader(table)) // a line that is too long is an error
		taken.Rules("x", []string{rule})
		if len(taken) > 1<<18 {
			t.Errorf("%d ports", len(taken))
		}
	})
}

package conntrack_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/conntrack"
	"miniplane.dev/miniplane/nodeagent/nettest"
)

func TestTouches(t *testing.T) {
	a := netip.MustParseAddrPort("192.0.2.1:1")
	b := netip.MustParseAddrPort("192.0.2.2:2")
	match := conntrack.Any(conntrack.Touches(netip.MustParseAddr("192.0.2.9")), conntrack.Touches(a.Addr()))
	tests := map[conntrack.Flow]bool{
		{Src: a, Dst: b, ReplySrc: b, ReplyDst: b}: true,
		{Src: b, Dst: a, ReplySrc: b, ReplyDst: b}: true,
		{Src: b, Dst: b, ReplySrc: a, ReplyDst: b}: true,
		{Src: b, Dst: b, ReplySrc: b, ReplyDst: a}: true,
		{Src: b, Dst: b, ReplySrc: b, ReplyDst: b}: false,
	}
	for flow, want := range tests {
		if got := match(flow); got != want {
			t.Errorf("%v: want %t, got %t", flow, want, got)
		}
	}
}

func TestDeleteUDP(t *testing.T) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Link(a, "192.0.2.1/24", b, "192.0.2.2/24")
	b.Serve("b", ":80")
	a.Run("iptables", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT") // makes the kernel track flows
	for _, network := range []string{"tcp", "udp"} {
		if _, _, err := a.Ask(network, "192.0.2.2:80"); err != nil {
			t.Fatal(err)
		}
	}
	var table *conntrack.Table
	a.Do(func() {
		var err error
		if table, err = conntrack.Open(nil); err != nil {
			t.Error(err)
		}
	})
	defer table.Close()
	look := func(remove bool) (seen []string) {
		t.Helper()
		err := table.DeleteUDP(t.Context(), func(f conntrack.Flow) bool {
			seen = append(seen, f.Dst.String()+" answered by "+f.ReplySrc.String())
			return remove
		})
		if err != nil {
			t.Error(err)
		}
		return seen
	}
	only := []string{"192.0.2.2:80 answered by 192.0.2.2:80"} // and not the one of tcp
	if diff := cmp.Diff([][]string{only, only, nil}, [][]string{look(false), look(true), look(true)}); diff != "" {
		t.Errorf("flows seen (-want +got):\n%s", diff)
	}
}

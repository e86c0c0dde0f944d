package network

import (
	"encoding/binary"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/nettest"
)

// A link is down when it is made. Who hears of that when it is up already need not look at all that there is; one that is down concerns us.
func TestLateNews(t *testing.T) {
	n := alone(t)
	n.attach("uid", nettest.New(t, "pod"))
	link, err := n.handle.LinkByName(linkName("uid"))
	check(t, err)
	news := make([]byte, unix.SizeofIfInfomsg) // with no flag: it is down
	binary.NativeEndian.PutUint32(news[4:], uint32(link.Attrs().Index))
	news = append(news, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(link.Attrs().Name)).Serialize()...)
	if n.concernsLink(unix.RTM_NEWLINK, news) {
		t.Error("it is up again")
	}
	check(t, n.handle.LinkSetDown(link))
	if !n.concernsLink(unix.RTM_NEWLINK, news) {
		t.Error("it is down")
	}
}

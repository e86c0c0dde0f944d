package network

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/nettest"
	"miniplane.dev/miniplane/test/slow"
)

// A link is down when it is made. Who hears of that when it is up already need not look at all that there is; one that is down, or was set
// down, concerns us.
func TestLateNews(t *testing.T) {
	n := alone(t)
	n.attach("uid", nettest.New(t, "pod"))
	link, err := n.handle.LinkByName(linkName("uid"))
	check(t, err)
	news := make([]byte, unix.SizeofIfInfomsg) // with no flag: it is down
	binary.NativeEndian.PutUint32(news[4:], uint32(link.Attrs().Index))
	binary.NativeEndian.PutUint32(news[12:], madeNow)
	news = append(news, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(link.Attrs().Name)).Serialize()...)
	if n.concernsLink(unix.RTM_NEWLINK, news) {
		t.Error("it is up again")
	}
	binary.NativeEndian.PutUint32(news[12:], unix.IFF_UP)
	if !n.concernsLink(unix.RTM_NEWLINK, news) {
		t.Error("it was set down, and what that took is not there because it is up again")
	}
	binary.NativeEndian.PutUint32(news[12:], madeNow)
	check(t, n.handle.LinkSetDown(link))
	if !n.concernsLink(unix.RTM_NEWLINK, news) {
		t.Error("it is down")
	}
}

// A link that is set down loses its route. It gets it back also when it is up again before anybody has heard of it.
func TestFlap(t *testing.T) {
	n := alone(t)
	addr := n.attach("uid", nettest.New(t, "pod"))
	n.setPeers()
	n.run()
	var other *netlink.Handle
	n.Do(func() {
		var err error
		other, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		check(t, err)
	})
	defer other.Close()
	link, err := other.LinkByName(linkName("uid"))
	check(t, err)
	for range 10 {
		check(t, other.LinkSetDown(link))
		check(t, other.LinkSetUp(link))
		for deadline := time.Now().Add(slow.By(5 * time.Second)); !strings.Contains(n.NS.Run("ip", "route", "show", "proto", "98"), addr.String()+" dev"); {
			if time.Now().After(deadline) {
				t.Fatal("its route is not there again")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

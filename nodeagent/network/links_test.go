package network

import (
	"fmt"
	"strings"
	"testing"

	"miniplane.dev/miniplane/nodeagent/nettest"
)

// TestListLinks: what the kernel says of links is what its files say, whatever the values are.
func TestListLinks(t *testing.T) {
	n, pod := alone(t), nettest.New(t, "pod")
	n.attach("uid", pod)
	link := linkName("uid")
	_, err := n.Try("sysctl", "-n", "net.ipv6.conf."+link+".disable_ipv6")
	ipv6 := err == nil
	for _, want := range []struct{ forwarding, filter, disabled, asMade string }{
		{"1", "1", "1", "true"}, {"0", "1", "1", "false"}, {"1", "0", "1", "false"}, {"1", "2", "1", "false"}, {"1", "1", "0", "false"},
	} {
		n.NS.Run("sysctl", "-qw", "net.ipv4.conf."+link+".forwarding="+want.forwarding, "net.ipv4.conf."+link+".rp_filter="+want.filter)
		if ipv6 {
			n.NS.Run("sysctl", "-qw", "net.ipv6.conf."+link+".disable_ipv6="+want.disabled)
		} else if want.disabled == "0" {
			continue
		}
		var links []linkState
		n.Do(func() { links, err = whole(listLinks) })
		check(t, err)
		found := 0
		for _, l := range links {
			if l.Name != link {
				continue
			}
			found++
			same(t, "forwarding", want.forwarding, fmt.Sprint(l.forwarding))
			same(t, "rp_filter", want.filter, fmt.Sprint(l.rpFilter))
			same(t, "IPv6", fmt.Sprint(want.disabled == "0"), fmt.Sprint(l.ipv6))
			same(t, "as made", want.asMade, fmt.Sprint(l.asMade(rpStrict)))
		}
		if names := n.NS.Run("ip", "-o", "link"); found != 1 || len(links) != strings.Count(names, "\n") {
			t.Errorf("%d of %d links are it; there are:\n%s", found, len(links), names)
		}
	}
	n.NS.Run("ip", "link", "set", "lo", "mtu", "60") // too small for IPv4, which has no parameters then
	if ipv6 {
		n.NS.Run("sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=1")
	}
	var links []linkState
	n.Do(func() { links, err = whole(listLinks) })
	check(t, err)
	for _, l := range links {
		if l.Name == "lo" && (l.ipv4 || !l.asMade(rpStrict)) {
			t.Errorf("a link that is too small: %+v", l)
		}
	}
}

package network

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// settle is the wait after an event for those that come with it; together with the time that mending takes it is far less than a
	// second.
	settle = 100 * time.Millisecond
	// firstLook is when all is looked at that SetPeers, the first time, has just mended: something may have changed before the kernel was
	// listened to.
	firstLook = 2 * time.Second
	// resync is between two looks without an event, for what the kernel tells nobody: entries of the VXLAN device.
	resync = time.Minute
	// mendRetry is the wait after a look that failed, as while a link is down.
	mendRetry = 500 * time.Millisecond
)

// Run keeps what was made as it was made, until ctx ends: the kernel tells of routes, links and parameters that others
// change, and each time all is looked at. It works on the calling goroutine, whose thread may be bound to a network
// namespace.
func (n *Node) Run(ctx context.Context) {
	events := make(chan struct{}, 1)
	stop := n.listen(events)
	defer stop()
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	soon := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if !soon {
				timer.Reset(settle)
				soon = true
			}
			continue
		case <-timer.C:
		}
		soon = false
		timer.Reset(resync)
		n.peersMu.Lock()
		err := n.mend()
		n.peersMu.Unlock()
		if err != nil {
			n.opts.Log.Info("The network of MiniPods is not whole; trying again", "err", err.Error())
			timer.Reset(mendRetry)
			soon = true
		}
	}
}

// listen puts a token into the channel for each event that may mean that something was taken away. If events were lost,
// that is one too.
func (n *Node) listen(events chan<- struct{}) (stop func()) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_NETCONF)
	if err != nil {
		n.opts.Log.Info("The kernel does not tell of changes of routes; they are looked at now and then", "err", err.Error())
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			messages, _, err := socket.Receive()
			if err != nil && !errors.Is(err, unix.ENOBUFS) { // the socket was closed
				return
			}
			wake := err != nil
			for _, m := range messages {
				wake = wake || n.concerns(m)
			}
			if wake {
				select {
				case events <- struct{}{}:
				default:
				}
			}
		}
	}()
	return func() {
		socket.Close()
		<-done
	}
}

// watched is what events are compared with, so that the life of native Pods and of other MiniPods wakes nobody.
type watched struct {
	mu    sync.Mutex
	links map[int]bool // that our routes go by
	pods  map[int]bool // host ends of MiniPods
}

// note remembers the links of the routes that are there and should be.
func (w *watched) note(n *Node, routes []netlink.Route) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.links == nil {
		w.links = map[int]bool{loIndex: true}
	}
	w.pods = make(map[int]bool, len(routes))
	for _, route := range routes {
		switch {
		case route.Gw != nil:
			w.links[route.LinkIndex] = true
		case route.LinkIndex != loIndex:
			w.pods[route.LinkIndex] = true
		}
	}
	if link, err := n.linkOf(n.opts.NodeIP); err == nil {
		w.links[link.Attrs().Index] = true
	}
}

func (w *watched) has(index int) (link, pod bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.links[index], w.pods[index]
}

// concerns tells whether a message of rtnetlink(7) may be about something of ours that is missing now.
func (n *Node) concerns(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_DELROUTE:
		return n.concernsRoute(m.Data)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return n.concernsLink(m.Header.Type, m.Data)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(m.Data) < unix.SizeofIfAddrmsg {
			return false
		}
		link, _ := n.watch.has(int(binary.NativeEndian.Uint32(m.Data[4:])))
		return link
	case unix.RTM_NEWNETCONF:
		return n.concernsParameter(m.Data)
	}
	return false
}

// madeNow is what a message has for the flags that changed where a link is new.
const madeNow = ^uint32(0)

// isDown tells whether a link is down now. Each is when it is made, and when the agent hears of that late it may be whole already.
func (n *Node) isDown(index int) bool {
	link, err := n.handle.LinkByIndex(index)
	return err != nil || link.Attrs().RawFlags&unix.IFF_UP == 0
}

func (n *Node) concernsRoute(data []byte) bool {
	if len(data) < unix.SizeofRtMsg || data[5] != routeProtocol {
		return false
	}
	if bits := data[1]; bits != 32 {
		return true
	}
	for _, a := range attributes(data[unix.SizeofRtMsg:]) {
		if addr, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == unix.RTA_DST {
			n.mu.Lock()
			defer n.mu.Unlock()
			for _, ours := range n.linked {
				if ours == addr {
					return true
				}
			}
		}
	}
	return false
}

func (n *Node) concernsLink(kind uint16, data []byte) bool {
	if len(data) < unix.SizeofIfInfomsg {
		return false
	}
	index, flags, change := int(binary.NativeEndian.Uint32(data[4:])), binary.NativeEndian.Uint32(data[8:]), binary.NativeEndian.Uint32(data[12:])
	if link, _ := n.watch.has(index); link {
		return true
	}
	if kind == unix.RTM_DELLINK || flags&unix.IFF_UP != 0 {
		return false // a MiniPod's link that is gone cannot be made here, and one that is up needs nothing
	}
	// One that was set down lost its route, of which the kernel says nothing, whether it is up again by now or not.
	setDown := change&unix.IFF_UP != 0 && change != madeNow
	for _, a := range attributes(data[unix.SizeofIfInfomsg:]) {
		if a.Attr.Type == unix.IFLA_IFNAME {
			return n.isLinked(unix.ByteSliceToString(a.Value)) && (setDown || n.isDown(index))
		}
	}
	return false
}

// Attributes of a message about parameters (linux/netconf.h).
const (
	netconfIndex, netconfForwarding, netconfRPFilter = 1, 2, 3
	sizeofNetconf                                    = 4 // the message's head, aligned
	indexOfDefault                                   = -2
)

func (n *Node) concernsParameter(data []byte) bool {
	if len(data) < sizeofNetconf {
		return false
	}
	index, forwarding, filter := 0, 1, 1
	for _, a := range attributes(data[sizeofNetconf:]) {
		if len(a.Value) < 4 {
			continue
		}
		value := int(int32(binary.NativeEndian.Uint32(a.Value)))
		switch a.Attr.Type {
		case netconfIndex:
			index = value
		case netconfForwarding:
			forwarding = value
		case netconfRPFilter:
			filter = value
		}
	}
	_, pod := n.watch.has(index)
	return forwarding == 0 && index != indexOfDefault || pod && filter != 1
}

func attributes(data []byte) []syscall.NetlinkRouteAttr {
	attrs, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil
	}
	return attrs
}

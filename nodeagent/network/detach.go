package network

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/coalesce"
	"miniplane.dev/miniplane/nodeagent/conntrack"
)

// Detach implements Network. The record goes last, and the address is free only when no flow knows it any more.
func (n *Node) Detach(ctx context.Context, podUID string) error {
	n.busy.LockKey(podUID)
	defer func() { _ = n.busy.UnlockKey(podUID) }()
	name := linkName(podUID)
	n.mu.Lock()
	delete(n.linked, name)
	n.mu.Unlock()
	if err := n.reaper.delete(ctx, name); err != nil {
		return err
	}
	n.mu.Lock()
	addr, ok := n.addrs[podUID]
	if !ok {
		addr, ok = n.strays[name]
	}
	n.mu.Unlock()
	if !ok {
		return nil
	}
	if err := n.flows.DeleteUDP(ctx, conntrack.Touches(addr)); err != nil {
		return err
	}
	if err := n.records.remove(podUID); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.addrs, podUID)
	delete(n.strays, name)
	n.pool.Release(addr)
	return nil
}

// doomed is the group of links that are to be deleted, a number that nobody else is likely to use.
const doomed = 0x6d696e64

// reaper deletes links. The kernel waits for tens of milliseconds when it deletes one, and for no longer when it deletes
// a group, so links that are to go at the same time go as a group.
type reaper struct {
	handle *netlink.Handle
	socket *nl.SocketHandle
	groups coalesce.Batcher[string]
}

func newReaper(handle *netlink.Handle) (*reaper, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("network: opening netlink: %w", err)
	}
	r := &reaper{handle: handle, socket: &nl.SocketHandle{Socket: socket}}
	r.groups.Run = r.deleteGroup
	return r, nil
}

// delete returns when the link is gone. Nil if there is none.
func (r *reaper) delete(ctx context.Context, name string) error {
	link, err := r.handle.LinkByName(name)
	if err == nil {
		err = r.handle.LinkSetGroup(link, doomed)
	}
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("network: marking link %s for deletion: %w", name, err)
	}
	return r.groups.Do(ctx, name)
}

func (r *reaper) deleteGroup(names []string) error {
	request := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: r.socket}
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomed)))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("network: deleting links %v: %w", names, err)
	}
	return nil
}

// deleteLink deletes a link at once. Nil if there is none.
func deleteLink(handle *netlink.Handle, name string) error {
	link, err := handle.LinkByName(name)
	if err == nil {
		err = handle.LinkDel(link)
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("network: deleting link %s: %w", name, err)
	}
	return nil
}

// isGone tells that a link is not there, as the library and as the kernel say it.
func isGone(err error) bool {
	return errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ENODEV)
}

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"miniplane.dev/miniplane/nodeagent/conntrack"
)

// Cleanup implements Network. The node stays a router (net.ipv4.ip_forward), for others may have come to need it.
func (n *Node) Cleanup(ctx context.Context) error {
	if err := Cleanup(ctx, n.opts.StateDir); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.linked)
	for _, addrs := range []map[string]netip.Addr{n.addrs, n.strays} {
		for _, addr := range addrs {
			n.pool.Release(addr)
		}
		clear(addrs)
	}
	return nil
}

// Cleanup removes all that any Network ever made in the calling thread's network namespace, and its records. It needs to
// know nothing about the node.
func Cleanup(ctx context.Context, stateDir string) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("network: opening netlink: %w", err)
	}
	defer handle.Close()
	addrs, err := cleanupLinks(handle)
	if err := errors.Join(err, cleanupRoutes(handle), cleanupFlows(ctx, addrs)); err != nil {
		return err
	}
	if err := os.RemoveAll(recordsIn(stateDir).dir); err != nil {
		return fmt.Errorf("network: removing the records: %w", err)
	}
	return nil
}

// cleanupLinks returns the addresses of the links that it deleted.
func cleanupLinks(handle *netlink.Handle) (map[netip.Addr]bool, error) {
	links, err := ownLinks(handle)
	if err != nil {
		return nil, err
	}
	addrs := map[netip.Addr]bool{}
	errs := []error{deleteLink(handle, vxlanName)}
	for name, addr := range links {
		addrs[addr] = true
		errs = append(errs, deleteLink(handle, name))
	}
	return addrs, errors.Join(errs...)
}

func cleanupRoutes(handle *netlink.Handle) error {
	routes, err := ownRoutes(handle)
	errs := []error{err}
	for _, route := range routes {
		if err := handle.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("network: removing the route to %s: %w", route.Dst, err))
		}
	}
	return errors.Join(errs...)
}

func cleanupFlows(ctx context.Context, addrs map[netip.Addr]bool) error {
	if len(addrs) == 0 {
		return nil
	}
	flows, err := conntrack.Open(nil)
	if err != nil {
		return err
	}
	defer flows.Close()
	return flows.DeleteUDP(ctx, func(f conntrack.Flow) bool {
		return addrs[f.Src.Addr()] || addrs[f.Dst.Addr()] || addrs[f.ReplySrc.Addr()] || addrs[f.ReplyDst.Addr()]
	})
}

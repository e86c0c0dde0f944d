package network

import (
	"context"
	"net/netip"
	"time"

	"miniplane.dev/miniplane/internal/fabric"
)

// Peer is another node and the range of its MiniPods.
type Peer struct {
	Name    string
	NodeIP  netip.Addr
	PodCIDR netip.Prefix
	// Created is when its MiniNode was: of two with the same addresses the older one has them.
	Created time.Time
}

// Network connects sandboxes with the node and with the other nodes. All that it must remember is in the kernel and
// under its state directory.
type Network interface {
	// Attach connects the network namespace at the path and returns the MiniPod's address. Doing it again returns the
	// same address. An error that Is ErrExhausted says that the node's range has no free address.
	Attach(ctx context.Context, podUID, netnsPath string) (netip.Addr, error)
	// Detach removes the link and gives the address back. Nil if there is nothing.
	Detach(ctx context.Context, podUID string) error
	// List tells the address of every attached MiniPod by its UID.
	List(ctx context.Context) (map[string]netip.Addr, error)
	// SetPeers makes the routes to other nodes what the peers say.
	SetPeers(ctx context.Context, peers []Peer) error
	// Ways tells how the peers that were set are reached, Refused which of them are not, and why.
	Ways() []Way
	Refused() []string
	// Echo asks peers whether packets reach them, by the way that MiniPods' packets take and from node to node. AnswersEchoes tells that
	// others can ask this node.
	Echo(ctx context.Context, peers []fabric.Peer) (map[fabric.Peer]fabric.Answer, error)
	AnswersEchoes() bool
	// Run restores what others take away, until ctx ends.
	Run(ctx context.Context)
	// Cleanup removes every link, route and file that this node's Network ever made.
	Cleanup(ctx context.Context) error
}

// Package fakenode is the part of a machine below the containers, in memory: sandboxes and addresses. Like the real ones
// they survive the agent, because a new agent is given the same ones.
package fakenode

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"miniplane.dev/miniplane/internal/fabric"
	"miniplane.dev/miniplane/nodeagent/network"
	"miniplane.dev/miniplane/nodeagent/runtime"
	"miniplane.dev/miniplane/nodeagent/sandbox"
)

// Sandboxes is a sandbox.Manager in memory.
type Sandboxes struct {
	mu    sync.Mutex
	there map[string]sandbox.Sandbox
	specs map[string]sandbox.Spec
	made  int
	dir   string
	// Fail, when set, is asked before each operation.
	Fail func(op, podUID string) error
}

var _ sandbox.Manager = (*Sandboxes)(nil)

// NewSandboxes makes one without sandboxes. Their files are below a directory.
func NewSandboxes(dir string) *Sandboxes {
	return &Sandboxes{there: map[string]sandbox.Sandbox{}, specs: map[string]sandbox.Spec{}, dir: dir}
}

// Spec is what a sandbox was wanted like last.
func (s *Sandboxes) Spec(podUID string) sandbox.Spec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.specs[podUID]
}

// Ensure implements sandbox.Manager.
func (s *Sandboxes) Ensure(_ context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if err := s.fail("Ensure", spec.PodUID); err != nil {
		return sandbox.Sandbox{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.specs[spec.PodUID] = spec
	if box, ok := s.there[spec.PodUID]; ok && box.PausePID != 0 && box.Shape == spec.Shape {
		return box, nil
	}
	files := filepath.Join(s.dir, spec.PodUID)
	if err := os.MkdirAll(files, 0o755); err != nil {
		return sandbox.Sandbox{}, err
	}
	s.made++
	id := s.there[spec.PodUID].ID // its namespaces outlive a pause
	if id == "" {
		id = fmt.Sprintf("box-%d", s.made)
	}
	box := sandbox.Sandbox{PodUID: spec.PodUID, ID: id, Shape: spec.Shape, PausePID: 100 + len(s.there), Files: files, Namespaces: runtime.Namespaces{
		Net: "/ns/" + spec.PodUID + "/net", IPC: "/ns/" + spec.PodUID + "/ipc", UTS: "/ns/" + spec.PodUID + "/uts"}}
	if spec.SharePIDs {
		box.Namespaces.PID = "/ns/" + spec.PodUID + "/pid"
	}
	s.there[spec.PodUID] = box
	return box, nil
}

// List implements sandbox.Manager.
func (s *Sandboxes) List(context.Context) ([]sandbox.Sandbox, error) {
	if err := s.fail("List", ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []sandbox.Sandbox
	for _, box := range s.there {
		out = append(out, box)
	}
	return out, nil
}

// Remove implements sandbox.Manager.
func (s *Sandboxes) Remove(_ context.Context, podUID string) error {
	if err := s.fail("Remove", podUID); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if box, ok := s.there[podUID]; ok {
		delete(s.there, podUID)
		return os.RemoveAll(box.Files)
	}
	return nil
}

// KillPause ends a sandbox's pause process.
func (s *Sandboxes) KillPause(podUID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	box := s.there[podUID]
	box.PausePID = 0
	s.there[podUID] = box
}

// Len is how many sandboxes there are.
func (s *Sandboxes) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.there)
}

func (s *Sandboxes) fail(op, uid string) error {
	if s.Fail == nil {
		return nil
	}
	return s.Fail(op, uid)
}

// Network is a network.Network in memory, giving addresses from 100.64.0.2 on.
type Network struct {
	mu    sync.Mutex
	there map[string]netip.Addr
	next  netip.Addr
	peers []network.Peer
	// Fail, when set, is asked before each operation.
	Fail func(op, podUID string) error
}

var _ network.Network = (*Network)(nil)

// NewNetwork makes one without addresses.
func NewNetwork() *Network {
	return &Network{there: map[string]netip.Addr{}, next: netip.MustParseAddr("100.64.0.2")}
}

// Attach implements network.Network.
func (n *Network) Attach(_ context.Context, podUID, netnsPath string) (netip.Addr, error) {
	if err := n.fail("Attach", podUID); err != nil {
		return netip.Addr{}, err
	}
	if netnsPath == "" {
		return netip.Addr{}, fmt.Errorf("no network namespace")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if address, ok := n.there[podUID]; ok {
		return address, nil
	}
	n.there[podUID] = n.next
	n.next = n.next.Next()
	return n.there[podUID], nil
}

// Detach implements network.Network.
func (n *Network) Detach(_ context.Context, podUID string) error {
	if err := n.fail("Detach", podUID); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.there, podUID)
	return nil
}

// List implements network.Network.
func (n *Network) List(context.Context) (map[string]netip.Addr, error) {
	if err := n.fail("List", ""); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.there), nil
}

// SetPeers implements network.Network.
func (n *Network) SetPeers(_ context.Context, peers []network.Peer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers = peers
	return n.fail("SetPeers", "")
}

// Ways implements network.Network: there are none.
func (n *Network) Ways() []network.Way { return nil }

// Refused implements network.Network: nobody is.
func (n *Network) Refused() []string { return nil }

// Echo implements network.Network: nobody answers.
func (n *Network) Echo(context.Context, []fabric.Peer) (map[fabric.Peer]fabric.Answer, error) {
	return nil, nil
}

// AnswersEchoes implements network.Network.
func (n *Network) AnswersEchoes() bool { return false }

// Run implements network.Network: nobody takes anything away.
func (n *Network) Run(ctx context.Context) { <-ctx.Done() }

// Peers are the last that were set.
func (n *Network) Peers() []network.Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers
}

// Cleanup implements network.Network.
func (n *Network) Cleanup(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.there)
	return nil
}

func (n *Network) fail(op, uid string) error {
	if n.Fail == nil {
		return nil
	}
	return n.Fail(op, uid)
}

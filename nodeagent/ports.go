package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"miniplane.dev/miniplane/nodeagent/hostports"
	"miniplane.dev/miniplane/nodeagent/iptables"
)

// sockets are the tables of the network namespace of whoever reads them.
const sockets = "/proc/thread-self/net"

// takenPorts tells which ports of the node are others', by their sockets and by their rules in all kinds of tables; nil tables are
// of a kind that the node does not have.
func takenPorts(ctx context.Context, tables ...*iptables.Exec) (hostports.Taken, error) {
	taken := hostports.Taken{}
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		table, err := os.Open(filepath.Join(sockets, name))
		if errors.Is(err, os.ErrNotExist) { // no IPv6
			continue
		}
		if err != nil {
			return nil, err
		}
		err = taken.Sockets(strings.TrimSuffix(name, "6"), table)
		_ = table.Close()
		if err != nil {
			return nil, fmt.Errorf("sockets of %s: %w", name, err)
		}
	}
	for _, kind := range tables {
		for chain, whose := range hostports.Chains {
			if kind == nil {
				continue
			}
			rules, err := kind.Others(ctx, iptables.NAT, chain)
			if err != nil {
				return nil, err
			}
			taken.Rules(whose, rules)
		}
	}
	return taken, nil
}

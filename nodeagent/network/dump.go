package network

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// mostDumps is how often a listing is asked for anew. Each takes well below a millisecond, and so does a change; hundreds in a row are not
// all interrupted.
const mostDumps = 100

// whole lists what the kernel has. The kernel tells when something was added or removed while it listed, as links of MiniPods are all the
// time; such a list may lack what was there throughout, so another one is asked for.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	for range mostDumps {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return list()
}

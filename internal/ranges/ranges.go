// Package ranges finds out whether two uses of the same addresses collide.
//
// The ranges of MiniPods and MiniServices must belong to miniplane alone: an address that is also a Pod's, a Service's or a
// machine's would reach one of the two by chance. Nothing at the API server keeps ranges apart that different systems give
// out, so each of miniplane's programs looks at its start, and does not start when they collide.
package ranges

import (
	"errors"
	"fmt"
	"net/netip"
)

// Range is a range of addresses, or one address as a range of its full length, and what it is used for.
type Range struct {
	// Name says who uses the range, as in "the pod range of node a" or, for one of ours, the flag that sets it.
	Name   string
	Prefix netip.Prefix
}

// Addr is the range of one address.
func Addr(name string, addr netip.Addr) Range {
	return Range{Name: name, Prefix: netip.PrefixFrom(addr, addr.BitLen())}
}

// Check compares our ranges with those of others. Each collision is an error that names both and says what to do; nil if
// there is none. A range of length 0, as a default route has, is everybody's and collides with nothing.
func Check(ours, theirs []Range) error {
	var errs []error
	for _, our := range ours {
		for _, their := range theirs {
			if their.Prefix.Bits() > 0 && our.Prefix.Overlaps(their.Prefix) {
				errs = append(errs, fmt.Errorf("%s %s overlaps %s, %s: choose a range that nothing else uses, and give the manager and all agents the same",
					our.Name, our.Prefix, their.Name, their.Prefix))
			}
		}
	}
	return errors.Join(errs...)
}

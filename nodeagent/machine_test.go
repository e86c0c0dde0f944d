package nodeagent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/go-logr/logr"
)

// A machine whose own addresses lie in a range of ours is not opened, before anything else is looked at.
func TestMachineWithCollidingRangesIsNotOpened(t *testing.T) {
	opts := DefaultOptions()
	opts.PodCIDR = netip.MustParsePrefix("127.0.0.0/8") // every machine has an address there
	machine, err := OpenMachine(opts, logr.Discard())
	if err == nil {
		machine.Close()
		t.Fatal("it was opened")
	}
	if !strings.Contains(err.Error(), "--pod-cidr 127.0.0.0/8 overlaps an address of this machine") {
		t.Error(err)
	}
}

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

// TestServerForMiniPods: MiniPods are told where the agent finds the API server, but for what is an address of theirs alone.
func TestServerForMiniPods(t *testing.T) {
	for server, want := range map[string]string{
		"https://10.96.0.1:443": "10.96.0.1:443", "https://api.example.com": "api.example.com:443", "https://[fd00::1]:6443/base": "[fd00::1]:6443",
		"https://127.0.0.1:6443": "", "https://localhost:6443": "", "https://[::1]:6443": "", "": "", "10.0.0.1:6443": "",
	} {
		if got := serverFor(server); got != want {
			t.Errorf("%q: %q, want %q", server, got, want)
		}
	}
}

package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// sysctl sets a kernel parameter of the calling thread's network namespace; the name is a path, as in net/ipv4/ip_forward.
func sysctl(name, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
		return fmt.Errorf("network: kernel parameter: %w", err)
	}
	return nil
}

// linkSysctls makes a link of ours route, and speak IPv4 only: without this every link would begin by announcing an IPv6
// address that nobody wants, and a MiniPod could announce itself to the node as its IPv6 router. A kernel without IPv6 has nothing
// to switch off.
func linkSysctls(link, rpFilter string) error {
	if err := sysctl("net/ipv4/conf/"+link+"/rp_filter", rpFilter); err != nil {
		return err
	}
	if err := sysctl("net/ipv4/conf/"+link+"/forwarding", "1"); err != nil {
		return err
	}
	err := sysctl("net/ipv6/conf/"+link+"/disable_ipv6", "1")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Values of rp_filter: strict drops what would not be routed back through the same link, loose what would not be routed
// at all.
const (
	rpStrict = "1"
	rpLoose  = "2"
)

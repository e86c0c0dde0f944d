// Package hostports tells which ports of a node are taken by others than MiniPods.
//
// Idea. A MiniPod's host port is a translation of everything that comes to that port of the node. Where somebody listens there, his clients would
// be drawn away; where native Pods or Services have a translation already, theirs comes first, and the MiniPod's would do nothing.
// So both are looked for when a MiniPod with host ports comes: the sockets in /proc/net, and the rules that kube-proxy and the CNI plugin
// portmap make in chains of fixed names.
//
// What makes it hard: a socket on the loopback is nobody's concern, for nothing that comes there is translated; and a UDP socket that is connected
// is a client's.
package hostports

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Port of the node.
type Port struct {
	Protocol string // tcp or udp
	Number   uint16
}

// Taken are ports, by who has them.
type Taken map[Port]string

// Chains of the table nat, by whose they are.
var Chains = map[string]string{
	"CNI-HOSTPORT-DNAT": "a host port of a native Pod",
	"KUBE-NODEPORTS":    "a node port of a native Service",
}

// listener is who has a port that a program listens on.
const listener = "a program of the node"

// maxSockets bounds how many lines of one table are looked at.
const maxSockets = 1 << 17

// States of sockets that take from anybody, as /proc/net writes them.
const tcpListen, udpUnconnected = "0A", "07"

// Sockets adds those that listen, of one of the tables tcp, tcp6, udp and udp6 of /proc/net.
func (t Taken) Sockets(protocol string, table io.Reader) error {
	wanted := map[string]string{"tcp": tcpListen, "udp": udpUnconnected}[protocol]
	lines := bufio.NewScanner(table)
	for n := 0; lines.Scan() && n < maxSockets; n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != wanted {
			continue
		}
		address, port, ok := strings.Cut(fields[1], ":")
		number, err := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil || loopback(address) {
			continue
		}
		t[Port{protocol, uint16(number)}] = listener
	}
	return lines.Err()
}

// loopback tells whether an address, as hexadecimal words of the machine's byte order, is only reached from the node itself.
func loopback(text string) bool {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw)%4 != 0 {
		return false
	}
	for i := 0; i < len(raw); i += 4 { // little-endian words, as on all machines that miniplane is built for
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	addr, ok := netip.AddrFromSlice(raw)
	return ok && addr.Unmap().IsLoopback()
}

// Rules adds the ports of rules, as iptables -S lists them.
func (t Taken) Rules(whose string, rules []string) {
	for _, rule := range rules {
		words := strings.Fields(rule)
		protocol := after(words, "-p")
		for _, option := range []string{"--dport", "--dports"} {
			for item := range strings.SplitSeq(after(words, option), ",") {
				first, last, isRange := strings.Cut(item, ":")
				if !isRange {
					last = first
				}
				from, err := strconv.ParseUint(first, 10, 16)
				to, err2 := strconv.ParseUint(last, 10, 16)
				if err != nil || err2 != nil {
					continue
				}
				for n := from; n <= to; n++ {
					t[Port{protocol, uint16(n)}] = whose
				}
			}
		}
	}
}

// after is the word after an option; empty if it is not there.
func after(words []string, option string) string {
	for i, word := range words[:max(0, len(words)-1)] {
		if word == option {
			return words[i+1]
		}
	}
	return ""
}

// Conflict says which of the wanted ports is taken, and by whom; empty if none is.
func (t Taken) Conflict(wanted []Port) string {
	for _, port := range wanted {
		if whose, taken := t[port]; taken {
			return fmt.Sprintf("port %d/%s of this node is that of %s", port.Number, port.Protocol, whose)
		}
	}
	return ""
}

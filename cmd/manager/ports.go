package main

import (
	"strings"

	"miniplane.dev/miniplane/internal/ipam"
)

// reserved are ranges of one port each.
func reserved(ports ...int32) []ipam.PortRange {
	out := make([]ipam.PortRange, 0, len(ports))
	for _, port := range ports {
		out = append(out, ipam.PortRange{First: port, Last: port})
	}
	return out
}

// portList is the text that parsePorts reads.
func portList(ranges []ipam.PortRange) string {
	var out []string
	for _, r := range ranges {
		first, last, _ := strings.Cut(r.String(), "-")
		if first != last {
			first += "-" + last
		}
		out = append(out, first)
	}
	return strings.Join(out, ",")
}

// parsePorts reads ports and ranges of ports, separated by commas; empty is none.
func parsePorts(text string) (out []ipam.PortRange, err error) {
	if text == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(text, ",") {
		if !strings.Contains(item, "-") {
			item += "-" + item
		}
		r, err := ipam.ParsePortRange(item)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

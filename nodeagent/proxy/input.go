package proxy

import (
	"bytes"

	"miniplane.dev/miniplane/nodeagent/iptables"
)

// inputs are what to give to iptables-restore, one after the other, for a change, with so many chains at most. Mostly it
// is one. If there are
// several, what leads to chains comes after them, and what is removed goes last, so that no packet ever meets a gap.
func (c change) inputs(most int) [][]byte {
	var out [][]byte
	set := c.set
	for len(set) > most {
		out = append(out, input(set[:most], nil))
		set = set[most:]
	}
	return append(out, input(set, c.removed))
}

// input declares all chains first, which makes and empties them, then fills some and removes others.
func input(set []chainContent, removed []chainID) []byte {
	var out bytes.Buffer
	for _, table := range iptables.AllTables {
		var names, body bytes.Buffer
		for _, c := range set {
			if c.id.table != table {
				continue
			}
			write(&names, ":", c.id.name, " - [0:0]\n")
			for _, rule := range c.rules {
				write(&body, "-A ", c.id.name, " ", rule, "\n")
			}
		}
		for _, id := range removed {
			if id.table == table {
				write(&names, ":", id.name, " - [0:0]\n")
				write(&body, "-X ", id.name, "\n")
			}
		}
		if names.Len() > 0 {
			write(&out, "*", table, "\n", names.String(), body.String(), "COMMIT\n")
		}
	}
	return out.Bytes()
}

func write(to *bytes.Buffer, words ...string) {
	for _, word := range words {
		to.WriteString(word)
	}
}

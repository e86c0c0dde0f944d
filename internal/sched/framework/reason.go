package framework

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"miniplane.dev/miniplane/internal/resources"
)

// Code is the kind of a Reason.
type Code int

// Why a node cannot take a MiniPod. The zero Code means that it can.
const (
	Fits Code = iota
	NotRegistered
	NotReady
	Leaving
	NoPodRange
	Cordoned
	PIDPressure
	Tainted
	OtherNode
	LabelMissing
	NodeAffinityUnmet
	AgentTooOld
	HostPortTaken
	HostPortReserved
	InsufficientCPU
	InsufficientMemory
	TooManyPods
	SpreadLabelMissing
	SkewTooGreat
	PodAffinityUnmet
	PodAntiAffinityUnmet
	Repelled
)

// Reason is why one node cannot take a MiniPod, as data. The zero value means that it can.
type Reason struct {
	Code Code
	// Detail is a taint, a label, a topology key, a field, a port or a node's name, by Code.
	Detail string
	// Asks and Free are the amounts that do not go together, in the units of package resources; for TooManyPods, Free is
	// how many MiniPods the node may hold.
	Asks, Free int64
}

// NodeReason is the Reason of one node.
type NodeReason struct {
	Node   string
	Reason Reason
}

// Diagnosis is why no node could take a MiniPod: one reason per node.
type Diagnosis struct {
	Nodes []NodeReason
}

// maxParts bounds how many different reasons a Summary names.
const maxParts = 8

// Summary is the diagnosis for people: "0/3 nodes are available: 2 insufficient cpu (asks 500m, free 100m), 1 node is
// cordoned." Equal reasons are counted together, the most frequent first.
func (d *Diagnosis) Summary() string {
	if len(d.Nodes) == 0 {
		return "0/0 nodes are available: no node has an agent yet."
	}
	parts := d.tally()
	more := 0
	if len(parts) > maxParts {
		more, parts = len(parts)-maxParts, parts[:maxParts]
	}
	texts := make([]string, 0, len(parts)+1)
	for i := range parts {
		texts = append(texts, parts[i].String())
	}
	if more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more reasons", more))
	}
	return fmt.Sprintf("0/%d nodes are available: %s.", len(d.Nodes), strings.Join(texts, ", "))
}

// Codes lists the kinds of reasons that occur.
func (d *Diagnosis) Codes() []Code {
	var out []Code
	for i := range d.Nodes {
		if code := d.Nodes[i].Reason.Code; !slices.Contains(out, code) {
			out = append(out, code)
		}
	}
	slices.Sort(out)
	return out
}

// part is one reason and the nodes that gave it.
type part struct {
	reason Reason
	nodes  int
	// most is the greatest Free of them, varied whether they differ.
	most   int64
	varied bool
}

func (d *Diagnosis) tally() []part {
	type key struct {
		code   Code
		detail string
	}
	at, parts := map[key]int{}, []part{}
	for i := range d.Nodes {
		r := d.Nodes[i].Reason
		k := key{r.Code, r.Detail}
		j, seen := at[k]
		if !seen {
			j = len(parts)
			at[k], parts = j, append(parts, part{reason: r, most: r.Free})
		}
		p := &parts[j]
		p.varied = p.varied || r.Free != p.most
		p.nodes, p.most = p.nodes+1, max(p.most, r.Free)
	}
	slices.SortStableFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(b.nodes, a.nodes), cmp.Compare(a.reason.Code, b.reason.Code), strings.Compare(a.reason.Detail, b.reason.Detail))
	})
	return parts
}

// isWhat says what a node is that gives a reason; %s is the Detail.
var isWhat = map[Code]string{
	NotRegistered:     "not registered as a core Node",
	NotReady:          "not ready",
	Leaving:           "leaving miniplane",
	NoPodRange:        "without addresses for MiniPods yet",
	Cordoned:          "cordoned",
	PIDPressure:       "short of processes (PIDPressure)",
	Tainted:           "tainted %s without a toleration",
	OtherNode:         "not the one asked for, %s",
	LabelMissing:      "without the label %s of nodeSelector",
	NodeAffinityUnmet: "not what nodeAffinity requires",
	AgentTooOld:       "of an older agent, which does not know %s",
	HostPortTaken:     "using host port %s already",
	HostPortReserved:  "keeping host port %s for others (choose one outside of the manager's --reserved-host-ports and --node-port-range)",

	SpreadLabelMissing:   "without the label %s of a topologySpreadConstraint",
	SkewTooGreat:         "where maxSkew by %s would be exceeded",
	PodAffinityUnmet:     "not where the MiniPods are that podAffinity requires (by %s)",
	PodAntiAffinityUnmet: "where MiniPods are that podAntiAffinity excludes (by %s)",
	Repelled:             "where MiniPods are whose podAntiAffinity excludes this one (by %s)",
}

func (p *part) String() string {
	switch p.reason.Code {
	case InsufficientCPU:
		return fmt.Sprintf("%d insufficient cpu (%s)", p.nodes, p.amounts(resources.FormatCPU))
	case InsufficientMemory:
		return fmt.Sprintf("%d insufficient memory (%s)", p.nodes, p.amounts(resources.FormatMemory))
	case TooManyPods:
		if p.varied {
			return p.count("full of MiniPods")
		}
		return p.count("full of MiniPods (%d)", p.most)
	}
	if text, known := isWhat[p.reason.Code]; known {
		return p.count("%s", strings.Replace(text, "%s", p.reason.Detail, 1))
	}
	return p.count("unfit (%d)", p.reason.Code)
}

// count begins a part: "1 node is …", "2 nodes are …".
func (p *part) count(format string, args ...any) string {
	what := fmt.Sprintf(format, args...)
	if p.nodes == 1 {
		return "1 node is " + what
	}
	return fmt.Sprintf("%d nodes are %s", p.nodes, what)
}

func (p *part) amounts(format func(int64) string) string {
	if p.varied {
		return fmt.Sprintf("asks %s, free at most %s", format(p.reason.Asks), format(max(p.most, 0)))
	}
	return fmt.Sprintf("asks %s, free %s", format(p.reason.Asks), format(max(p.most, 0)))
}

package fabric

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// mostNamed is how many peers a message names.
const mostNamed = 5

// Verdict is what a node knows of the network between itself and its peers.
type Verdict struct {
	// Peers is how many can be asked; Unknown of them were not asked often enough, Suspects were silent, and not often enough to be sure.
	Peers, Unknown, Suspects int
	// Routed and Encapsulated are how many are known to answer, by the way that leads to them.
	Routed, Encapsulated int
	// Lost are those that are proven not to be reached, the first that was found first. There may be more.
	Lost []Peer
}

// View is what the agent of a node tells: what is known of others, and whether others can ask this node.
type View struct {
	Verdict       Verdict
	AnswersEchoes bool
}

// LostBy is how many of the lost are reached through VXLAN, or are not.
func (v Verdict) LostBy(encapsulated bool) int { return len(v.lostBy(encapsulated)) }

func (v Verdict) lostBy(encapsulated bool) []Peer {
	var out []Peer
	for _, p := range v.Lost {
		if p.Encapsulated == encapsulated {
			out = append(out, p)
		}
	}
	return out
}

// Says is what a Verdict means for the condition of the MiniNode.
type Says int

// What a verdict can say. SaysNothing leaves the condition as it is, because nothing is decided; SaysNone takes it away, because there is
// nobody to ask.
const (
	SaysNothing Says = iota
	SaysNone
	SaysCondition
)

// Condition is the condition PeersUnreachable. The VXLAN port is for the message. It has no number that changes all the time, because
// each change is a write.
func (v Verdict) Condition(vxlanPort int) (metav1.Condition, Says) {
	out := metav1.Condition{Type: miniv1.ConditionPeersUnreachable}
	switch {
	case v.Peers == 0:
		return out, SaysNone
	case len(v.Lost) > 0:
		out.Status = metav1.ConditionTrue
		out.Reason, out.Message = v.lostWords(vxlanPort)
	case v.Routed+v.Encapsulated > 0 && v.Suspects == 0:
		out.Status, out.Reason = metav1.ConditionFalse, miniv1.ReasonPeersAnswer
		out.Message = "of the other nodes, none is known whose MiniPods cannot be reached from here"
	case v.Suspects+v.Unknown == 0:
		out.Status, out.Reason = metav1.ConditionUnknown, miniv1.ReasonPeersSilent
		out.Message = "whether packets reach the MiniPods of other nodes is not known: no node answers an ICMP echo, not even at its own address"
	default:
		return out, SaysNothing
	}
	return out, SaysCondition
}

func (v Verdict) lostWords(vxlanPort int) (reason, message string) {
	routed, encapsulated := v.lostBy(false), v.lostBy(true)
	var words []string
	if len(routed) > 0 {
		reason = miniv1.ReasonRoutedPacketsLost
		words = append(words, lostWords(routed, v.Routed, "without encapsulation",
			"the network between the nodes seems to drop addresses that it did not give: start all agents with --encapsulation=always, or switch "+
				"off the network's check of sources and destinations"))
	}
	if len(encapsulated) > 0 {
		reason = miniv1.ReasonEncapsulatedPacketsLost
		words = append(words, lostWords(encapsulated, v.Encapsulated, "by VXLAN", fmt.Sprintf("let UDP %d pass between all nodes", vxlanPort)))
	}
	if len(routed) > 0 && len(encapsulated) > 0 {
		reason = miniv1.ReasonPacketsLost
	}
	return reason, strings.Join(words, "; ")
}

// lostWords tells one peer, or some, from all that are reached in the same way.
func lostWords(lost []Peer, others int, how, remedy string) string {
	var names []string
	for _, p := range lost[:min(len(lost), mostNamed)] {
		names = append(names, p.Name)
	}
	whose := strings.Join(names, ", ")
	if len(lost) > mostNamed {
		whose += " and others"
	}
	if others > 0 {
		return fmt.Sprintf("packets %s to MiniPods of %s are lost, although these nodes answer, and others are reached in this way: "+
			"look for what is special about these nodes or between them and this one; it may be that %s", how, whose, remedy)
	}
	return fmt.Sprintf("packets %s to MiniPods of %s are lost, although these nodes answer; no node is reached in this way: %s", how, whose, remedy)
}

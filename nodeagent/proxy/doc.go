// Package proxy makes virtual IPs, node ports and host ports lead to MiniPods, by rules of iptables.
//
// The idea is a ruleset that is a function of the state, kept as chains of lines, and applied as the difference to what
// was applied last: only chains that changed are written, in one iptables-restore, however many services there are.
//
// Plain iptables is read from top to bottom, and a list of all services makes the first packet of each connection pay
// for all of them. Here the services hang on a tree of chains (see tree) by the bits of their virtual IP, so that the
// packet passes a number of rules that grows with the logarithm of the number of services. Node and host ports hang on
// trees by their number, in the same way.
//
//	PREROUTING, OUTPUT ─► MINI-SERVICES ─┬─ to the service range ► MINI-VIP ► … ► MINI-SVC-x ► DNAT to a random backend
//	                                     └─ to the node itself ► MINI-TCP, MINI-UDP ► … ► MINI-SVC-x, or DNAT (host port)
//	POSTROUTING ────────► MINI-POSTROUTING: who must be masqueraded
//	FORWARD, OUTPUT, INPUT (filter) ─► what went to a service and was not translated is refused; MiniPods may forward
//
// No packet is marked. What other programs use bits of the mark for, the connection tracker knows anyway: whether the
// connection was translated, and where it went at first. A packet to the service range that arrives at the filter
// untranslated has no backend, so that one rule refuses it for all services that have none.
//
// What makes it hard: the rules in the kernel outlive the agent and belong to everybody. A new agent writes all chains
// once, under the same names with the same content, so that no packet meets a gap, and removes after that what it does
// not know. What somebody flushed is found by looking, and written again.
package proxy

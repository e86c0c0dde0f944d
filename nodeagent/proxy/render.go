package proxy

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"miniplane.dev/miniplane/nodeagent/iptables"
)

// Chains with names of their own.
const (
	chainServices    = "MINI-SERVICES"
	chainVIP         = "MINI-VIP"
	chainLocal       = "MINI-LOCAL"
	chainPorts       = "MINI-NODE"
	chainTCP         = "MINI-TCP"
	chainUDP         = "MINI-UDP"
	chainPostrouting = "MINI-POSTROUTING"
	chainHairpin     = "MINI-HAIRPIN"
	chainForward     = "MINI-FORWARD"
	chainInput       = "MINI-INPUT"
	chainOutput      = "MINI-OUTPUT"
	chainReject      = "MINI-REJECT"
	chainRefuse      = "MINI-REFUSE"
	chainRefuseTCP   = "MINI-REFUSE-TCP"
	chainRefuseUDP   = "MINI-REFUSE-UDP"
)

const (
	// A program on the node learns of a refused connection only from a reset at once; an unreachable it hears at its second
	// try, a second later.
	refuseTCP  = "-j REJECT --reject-with tcp-reset"
	refuse     = "-j REJECT --reject-with icmp-port-unreachable"
	masquerade = "-j MASQUERADE --random-fully"
	// newOnly is for rules of the filter that only the first packet of a connection needs to meet.
	newOnly = "-m conntrack --ctstate NEW"
	// translated is true for connections whose destination was replaced.
	translated = "-m conntrack --ctstate DNAT"
)

// jumps and lastJumps are the only rules outside of our own chains. The ports of the node come last, so that a native node
// port or host port wins over one of ours.
var jumps = []iptables.Rule{
	{Table: iptables.Raw, Chain: "PREROUTING", Spec: "-j " + chainTrust},
	{Table: iptables.NAT, Chain: "PREROUTING", Spec: "-j " + chainServices},
	{Table: iptables.NAT, Chain: "OUTPUT", Spec: "-j " + chainServices},
	{Table: iptables.NAT, Chain: "POSTROUTING", Spec: "-j " + chainPostrouting},
	{Table: iptables.Filter, Chain: "FORWARD", Spec: "-j " + chainForward},
	{Table: iptables.Filter, Chain: "INPUT", Spec: "-j " + chainInput},
	{Table: iptables.Filter, Chain: "OUTPUT", Spec: "-j " + chainOutput},
}

var lastJumps = []iptables.Rule{
	{Table: iptables.NAT, Chain: "PREROUTING", Spec: "-j " + chainLocal},
	{Table: iptables.NAT, Chain: "OUTPUT", Spec: "-j " + chainLocal},
	{Table: iptables.Filter, Chain: "FORWARD", Spec: "-j " + chainAccept},
}

func allJumps() []iptables.Rule { return slices.Concat(jumps, lastJumps) }

// canaries are there if nobody flushed the tables.
func canaries(cfg Config) []iptables.Rule {
	out := allJumps()
	for id, rules := range entryChains(cfg) {
		out = append(out, iptables.Rule{Table: id.table, Chain: id.name, Spec: rules[0]})
	}
	slices.SortFunc(out, func(a, b iptables.Rule) int { return strings.Compare(a.Table+a.Chain, b.Table+b.Chain) })
	return out
}

// entryChains are the same for all services.
func entryChains(cfg Config) map[chainID][]string {
	node, cluster, services := cfg.NodePodCIDR.Masked(), cfg.ClusterPodCIDR.Masked(), cfg.ServiceCIDR.Masked()
	out := trustChains(cfg)
	maps.Copy(out, map[chainID][]string{
		{iptables.NAT, chainServices}: {fmt.Sprintf("-d %s -g %s", services, chainVIP)},
		{iptables.NAT, chainLocal}:    {fmt.Sprintf("! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -g %s", chainPorts)},
		{iptables.NAT, chainPorts}:    {"-p tcp -g " + chainTCP, "-p udp -g " + chainUDP},
		{iptables.NAT, chainPostrouting}: {
			// A MiniPod that reaches itself must see somebody else, or it would answer itself.
			fmt.Sprintf("-s %s -d %s %s -g %s", node, node, translated, chainHairpin),
			// MiniPods see each other as they are.
			fmt.Sprintf("-s %s -d %s -j RETURN", cluster, cluster),
			// Nobody outside knows their addresses.
			fmt.Sprintf("-s %s %s", node, masquerade),
			// The answers of a backend on this node come by here in any case; those of others must be made to.
			fmt.Sprintf("-d %s -j RETURN", node),
			fmt.Sprintf("-d %s %s %s", cluster, translated, masquerade),
			fmt.Sprintf("%s --ctorigdst %s %s", translated, services, masquerade),
		},
		{iptables.Filter, chainOutput}: {fmt.Sprintf("-d %s %s -g %s", services, newOnly, chainReject)},
		{iptables.Filter, chainReject}: {"-p tcp " + refuseTCP, refuse},
		{iptables.Filter, chainInput}: {
			// The nodes ask each other at the first address of their ranges whether packets get through; that is no question to a
			// firewall of the node, which does not concern MiniPods.
			fmt.Sprintf("-s %s -d %s/32 -p icmp -j ACCEPT", cluster, node.Addr().Next()),
			fmt.Sprintf("%s -m addrtype --dst-type LOCAL -g %s", newOnly, chainRefuse),
		},
		{iptables.Filter, chainRefuse}: {"-p tcp -g " + chainRefuseTCP, "-p udp -g " + chainRefuseUDP},
	})
	return out
}

// service renders one service.
func (r *ruleset) service(s Service) contribution {
	if !s.VIP.Is4() || !r.cfg.ServiceCIDR.Contains(s.VIP) {
		return contribution{}
	}
	c := newContribution()
	var byPort []string
	for _, p := range s.Ports {
		name := "MINI-SVC-" + hash(s.Name, string(p.Protocol), strconv.Itoa(int(p.Port)))
		backends := slices.Clone(p.Backends)
		slices.SortFunc(backends, netip.AddrPort.Compare)
		backends = slices.Compact(backends)
		c.chains[chainID{iptables.NAT, name}] = lines{rankService, backendRules(s, p, name, backends)}
		byPort = append(byPort, fmt.Sprintf("-p %s -m %s --dport %d -g %s", p.Protocol, p.Protocol, p.Port, name))
		r.nodePort(&c, p, name)
		for _, b := range backends {
			r.hairpin(&c, b.Addr())
		}
	}
	r.vip(&c, s, byPort)
	return c
}

func newContribution() contribution {
	return contribution{
		chains: map[chainID]source{}, vips: map[uint32][]string{}, hairpins: map[uint32][]string{},
		sources: map[uint32][]string{}, vteps: map[uint32][]string{}, peers: map[uint32][]string{},
		ports:   map[Protocol]map[uint32][]string{TCP: {}, UDP: {}},
		refused: map[Protocol]map[uint32][]string{TCP: {}, UDP: {}},
	}
}

// vip hangs the service on the tree of virtual IPs, by way of a chain of its own if it has several ports.
func (r *ruleset) vip(c *contribution, s Service, byPort []string) {
	key := addrKey(s.VIP)
	switch len(byPort) {
	case 0:
	case 1:
		c.vips[key] = []string{matchDst(key, keyBits) + " " + byPort[0]}
	default:
		name := "MINI-PORTS-" + hash(s.Name)
		c.chains[chainID{iptables.NAT, name}] = lines{rankVIP, byPort}
		c.vips[key] = []string{matchDst(key, keyBits) + " -g " + name}
	}
}

func (r *ruleset) nodePort(c *contribution, p Port, chain string) {
	if p.NodePort == 0 {
		return
	}
	match := fmt.Sprintf("-p %s -m %s --dport %d", p.Protocol, p.Protocol, p.NodePort)
	c.ports[p.Protocol][portKey(p.NodePort)] = []string{match + " -g " + chain}
	if len(p.Backends) == 0 {
		how := map[Protocol]string{TCP: refuseTCP, UDP: refuse}[p.Protocol]
		c.refused[p.Protocol][portKey(p.NodePort)] = []string{match + " " + how}
	}
}

func (r *ruleset) hairpin(c *contribution, addr netip.Addr) {
	if r.local(addr) {
		c.hairpins[addrKey(addr)] = []string{fmt.Sprintf("-s %s/32 -d %s/32 %s", addr, addr, masquerade)}
	}
}

// backendRules choose one of n backends: the first with probability 1/n, else the second with 1/(n-1), and so on. With
// affinity, each backend has a list of the clients that it served, which goes away with its rules.
func backendRules(s Service, p Port, chain string, backends []netip.AddrPort) (rules []string) {
	list := func(b netip.AddrPort) string { return "MINI-" + hash(chain, b.String()) }
	if s.Affinity > 0 {
		for _, b := range backends {
			rules = append(rules, fmt.Sprintf("-p %s -m recent --update --seconds %d --reap --name %s --rsource -j DNAT --to-destination %s",
				p.Protocol, max(1, int(s.Affinity/time.Second)), list(b), b))
		}
	}
	for i, b := range backends {
		rule := "-p " + string(p.Protocol)
		if left := len(backends) - i; left > 1 {
			rule += fmt.Sprintf(" -m statistic --mode random --probability %.10f", 1/float64(left))
		} else {
			rule += " -m comment --comment " + comment(s.Name, p.Name)
		}
		if s.Affinity > 0 {
			rule += fmt.Sprintf(" -m recent --set --name %s --rsource", list(b))
		}
		rules = append(rules, rule+" -j DNAT --to-destination "+b.String())
	}
	return rules
}

// comment says whose rule it is to those who read the tables, in one word that is not longer than iptables takes (255).
func comment(service, port string) string {
	const longest = 200
	if port != "" {
		service += ":" + port
	}
	return service[:min(len(service), longest)]
}

// hostPortOwner sorts after services: of a node port and a host port the node port wins.
func hostPortOwner(podUID string) string { return "~hostport/" + podUID }

// hostPorts renders the host ports of one MiniPod.
func (r *ruleset) hostPorts(ports []HostPort) contribution {
	c := newContribution()
	for _, p := range ports {
		rule := fmt.Sprintf("-p %s -m %s --dport %d -j DNAT --to-destination %s", p.Protocol, p.Protocol, p.Port, p.To)
		key := portKey(p.Port)
		c.ports[p.Protocol][key] = append(c.ports[p.Protocol][key], rule)
		r.hairpin(&c, p.To.Addr())
	}
	return c
}

var nameEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// hash is 16 characters for words, so that names of chains, which have 28 at most, are unique.
func hash(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return nameEncoding.EncodeToString(sum[:10])
}

func compareIDs(a, b chainID) int {
	if a.table != b.table {
		return strings.Compare(b.table, a.table) // raw, nat, filter
	}
	return strings.Compare(a.name, b.name)
}

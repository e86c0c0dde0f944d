package names

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// What resolvers can have. More is left out, the last first, as a kubelet does it.
const (
	maxServers     = 3
	maxSearches    = 32
	maxSearch      = 253  // characters of one domain: with more, the resolver of an old C library gives up
	maxSearchChars = 2048 // of all of them, with the spaces between
)

// clusterOptions are a resolver's in the cluster: a name with fewer dots is looked for in the domains first.
var clusterOptions = []string{"ndots:5"}

// resolver is what a resolv.conf says.
type resolver struct {
	servers, searches, options []string
}

// Resolver is the file /etc/resolv.conf of a MiniPod, made from the node's, and what was left out of it for want of room, in words; empty
// where all of it is there. One that only has what the node has gets the node's own file.
func Resolver(pod *miniv1.MiniPod, node []byte, cluster Cluster) (file []byte, leftOut string) {
	policy, own := pod.Spec.DNSPolicy, pod.Spec.DNSConfig
	inCluster := len(cluster.Servers) > 0 && asksCluster(&pod.Spec)
	if own == nil && !inCluster && policy != corev1.DNSNone {
		return node, ""
	}
	r := resolver{}
	if policy != corev1.DNSNone {
		r = parse(string(node))
	}
	if inCluster {
		r.servers, r.options = cluster.Servers, clusterOptions
		if cluster.Domain != "" {
			services := "svc." + cluster.Domain
			r.searches = distinct([]string{pod.Namespace + "." + services, services, cluster.Domain}, r.searches)
		}
	}
	if own != nil {
		r.servers, r.searches = distinct(r.servers, own.Nameservers), distinct(r.searches, own.Searches)
		r.options = merge(r.options, own.Options)
	}
	kept := r.within()
	return kept.file(), r.without(kept)
}

// asksCluster tells whether a MiniPod asks the cluster's servers, where they are known. In the node's network one asks whom the node asks, unless it says more.
func asksCluster(spec *miniv1.MiniPodSpec) bool {
	switch spec.DNSPolicy {
	case corev1.DNSClusterFirstWithHostNet:
		return true
	case "", corev1.DNSClusterFirst:
		return !spec.HostNetwork
	}
	return false
}

// parse reads a resolv.conf. Of several search lines the last counts, of several options of one name too.
func parse(file string) (r resolver) {
	for line := range strings.Lines(file) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			r.servers = append(r.servers, fields[1:min(2, len(fields))]...)
		case "search":
			r.searches = nil
			for _, domain := range fields[1:] {
				if domain != "." {
					r.searches = append(r.searches, strings.TrimSuffix(domain, "."))
				}
			}
		case "options":
			for _, option := range fields[1:] {
				r.options = replace(r.options, option)
			}
		}
	}
	return r
}

// merge puts options in the place of those of the same name, and others at the end.
func merge(options []string, own []miniv1.PodDNSConfigOption) []string {
	options = slices.Clone(options)
	for _, o := range own {
		option := o.Name
		if o.Value != nil && *o.Value != "" {
			option += ":" + *o.Value
		}
		options = replace(options, option)
	}
	return options
}

// replace puts an option in the place of that of the same name, or at the end.
func replace(options []string, option string) []string {
	name, _, _ := strings.Cut(option, ":")
	for i, there := range options {
		if called, _, _ := strings.Cut(there, ":"); called == name {
			options[i] = option
			return options
		}
	}
	return append(options, option)
}

// distinct are the words of both lists, each once.
func distinct(lists ...[]string) (out []string) {
	for _, word := range slices.Concat(lists...) {
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// within is as much of it as resolvers can have.
func (r resolver) within() resolver {
	r.servers = r.servers[:min(maxServers, len(r.servers))]
	r.searches = slices.DeleteFunc(slices.Clone(r.searches[:min(maxSearches, len(r.searches))]), func(s string) bool { return len(s) > maxSearch })
	for len(strings.Join(r.searches, " ")) > maxSearchChars {
		r.searches = r.searches[:len(r.searches)-1]
	}
	return r
}

// without says what others left out of it: what Events of a kubelet say.
func (r resolver) without(kept resolver) string {
	var words []string
	if len(kept.servers) < len(r.servers) {
		words = append(words, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(kept.servers, " "))
	}
	if len(kept.searches) < len(r.searches) {
		words = append(words, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(kept.searches, " "))
	}
	return strings.Join(words, "; ")
}

// file is the resolv.conf that says it.
func (r resolver) file() []byte {
	var out strings.Builder
	if len(r.searches) > 0 {
		out.WriteString("search " + strings.Join(r.searches, " ") + "\n")
	}
	for _, server := range r.servers {
		out.WriteString("nameserver " + server + "\n")
	}
	if len(r.options) > 0 {
		out.WriteString("options " + strings.Join(r.options, " ") + "\n")
	}
	return []byte(out.String())
}

// OnlyLoopback tells whether all servers of a resolv.conf are on the loopback interface.
func OnlyLoopback(file []byte) bool {
	found := false
	for line := range strings.Lines(string(file)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if !strings.HasPrefix(fields[1], "127.") && fields[1] != "::1" {
			return false
		}
		found = true
	}
	return found
}

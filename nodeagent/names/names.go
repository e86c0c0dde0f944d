// Package names decides what a MiniPod is called, and what is in the files by which its containers know others: /etc/hosts and
// /etc/resolv.conf.
//
// The idea: it is what a kubelet would write for the same Pod, byte for byte where programs look, from three values: the MiniPod, what this
// node has in its own files, and what the agent was told of the cluster's DNS. Nothing is read here.
package names

import (
	"fmt"
	"strings"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Cluster is what an agent was told of the names of its cluster.
type Cluster struct {
	// Servers are addresses of its DNS; none where nobody said, and then ClusterFirst is Default.
	Servers []string
	// Machine is the host name of the node.
	Machine string
	// Domain that services and subdomains are in, as in "cluster.local".
	Domain string
}

const (
	// maxHostname is how long a host name can be that has no dots.
	maxHostname = 63
	// maxKernelName is how long the kernel's name of a machine can be, which may have dots.
	maxKernelName = 64
)

// Hostname is what a MiniPod calls itself.
func Hostname(pod *miniv1.MiniPod) string {
	if pod.Spec.Hostname != "" {
		return pod.Spec.Hostname
	}
	name := pod.Name
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// domainOf is the domain that the host name is in; empty where there is none.
func domainOf(pod *miniv1.MiniPod, cluster Cluster) string {
	if pod.Spec.Subdomain == "" {
		return ""
	}
	return pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + cluster.Domain
}

// Kernel is the name that the kernel tells the MiniPod's programs, and that is in /etc/hostname.
func Kernel(pod *miniv1.MiniPod, cluster Cluster) (string, error) {
	if pod.Spec.HostNetwork {
		return cluster.Machine, nil
	}
	name, domain := Hostname(pod), domainOf(pod, cluster)
	if whole := pod.Spec.SetHostnameAsFQDN; domain == "" || whole == nil || !*whole {
		return name, nil
	}
	name += "." + domain
	if len(name) > maxKernelName {
		return "", fmt.Errorf("setHostnameAsFQDN: %s has %d characters, and a host name can have %d: choose a shorter hostname or subdomain",
			name, len(name), maxKernelName)
	}
	return name, nil
}

// Hosts is the file /etc/hosts of a MiniPod with an address of its own.
func Hosts(pod *miniv1.MiniPod, address string, cluster Cluster) []byte {
	called := Hostname(pod)
	if domain := domainOf(pod, cluster); domain != "" {
		called = called + "." + domain + "\t" + called
	}
	out := fmt.Appendf(nil, `# Written by miniplane.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::0	ip6-localnet
fe00::0	ip6-mcastprefix
fe00::1	ip6-allnodes
fe00::2	ip6-allrouters
%s	%s
`, address, called)
	return appendAliases(out, pod.Spec.HostAliases)
}

// NodeHosts is the file /etc/hosts of a MiniPod in the node's network, made from the node's.
func NodeHosts(pod *miniv1.MiniPod, node []byte) []byte {
	return appendAliases(append([]byte("# Written by miniplane (host network).\n"), node...), pod.Spec.HostAliases)
}

// appendAliases adds a line for each alias.
func appendAliases(hosts []byte, aliases []miniv1.HostAlias) []byte {
	if len(aliases) > 0 {
		hosts = append(hosts, "\n# Entries added by HostAliases.\n"...)
	}
	for _, alias := range aliases {
		hosts = fmt.Appendf(hosts, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
	return hosts
}

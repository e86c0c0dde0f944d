package names_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/names"
	"miniplane.dev/miniplane/test/builders"
)

var cluster = names.Cluster{Machine: "machine-1", Servers: []string{"10.96.0.10"}, Domain: "cluster.local"}

func pod(change func(*miniv1.MiniPodSpec)) *miniv1.MiniPod {
	return builders.Pod("shop", "web-0").With(func(p *miniv1.MiniPod) { change(&p.Spec) }).Obj()
}

func TestHostname(t *testing.T) {
	long := pod(func(*miniv1.MiniPodSpec) {})
	long.Name = strings.Repeat("a", 62) + ".-b"
	if got := names.Hostname(long); got != strings.Repeat("a", 62) {
		t.Errorf("hostname %q", got)
	}
}

// What the kernel tells programs: the host name, and the whole of it where it is asked for and there is more.
func TestKernel(t *testing.T) {
	yes, no := true, false
	for name, c := range map[string]struct {
		change     func(*miniv1.MiniPodSpec)
		want, fail string
	}{
		"the node's network":      {func(s *miniv1.MiniPodSpec) { s.HostNetwork, s.Hostname = true, "db" }, "machine-1", ""},
		"its name":                {func(*miniv1.MiniPodSpec) {}, "web-0", ""},
		"its hostname":            {func(s *miniv1.MiniPodSpec) { s.Hostname = "db" }, "db", ""},
		"a subdomain alone":       {func(s *miniv1.MiniPodSpec) { s.Subdomain = "dbs" }, "web-0", ""},
		"said no":                 {func(s *miniv1.MiniPodSpec) { s.Subdomain, s.SetHostnameAsFQDN = "dbs", &no }, "web-0", ""},
		"whole, without domain":   {func(s *miniv1.MiniPodSpec) { s.SetHostnameAsFQDN = &yes }, "web-0", ""},
		"whole":                   {func(s *miniv1.MiniPodSpec) { s.Subdomain, s.SetHostnameAsFQDN = "dbs", &yes }, "web-0.dbs.shop.svc.cluster.local", ""},
		"whole, 64 characters":    {func(s *miniv1.MiniPodSpec) { s.Subdomain, s.SetHostnameAsFQDN = strings.Repeat("s", 35), &yes }, "web-0." + strings.Repeat("s", 35) + ".shop.svc.cluster.local", ""},
		"whole, and one too much": {func(s *miniv1.MiniPodSpec) { s.Subdomain, s.SetHostnameAsFQDN = strings.Repeat("s", 36), &yes }, "", "has 65 characters"},
	} {
		got, err := names.Kernel(pod(c.change), cluster)
		if got != c.want || (err != nil) != (c.fail != "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestHosts(t *testing.T) {
	const top = `# Written by miniplane.
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::0	ip6-localnet
fe00::0	ip6-mcastprefix
fe00::1	ip6-allnodes
fe00::2	ip6-allrouters
`
	for want, change := range map[string]func(*miniv1.MiniPodSpec){
		"100.64.0.9\tweb-0\n": func(*miniv1.MiniPodSpec) {},
		"100.64.0.9\tweb-0.dbs.shop.svc.cluster.local\tweb-0\n": func(s *miniv1.MiniPodSpec) { s.Subdomain = "dbs" },
		"100.64.0.9\tweb-0\n\n# Entries added by HostAliases.\n10.1.2.3\tfoo.remote\tbar.remote\nfd00::1\tsix\n127.0.0.1\t\n": func(s *miniv1.MiniPodSpec) {
			s.HostAliases = []miniv1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"foo.remote", "bar.remote"}}, {IP: "fd00::1", Hostnames: []string{"six"}}, {IP: "127.0.0.1"}}
		},
	} {
		if diff := cmp.Diff(top+want, string(names.Hosts(pod(change), "100.64.0.9", cluster))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestResolver(t *testing.T) {
	const node = "# the node's\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch old.example\nsearch corp.example. lab.example .\noptions ndots:2 rotate\noptions timeout:1\n"
	policy := func(p corev1.DNSPolicy) func(*miniv1.MiniPodSpec) {
		return func(s *miniv1.MiniPodSpec) { s.DNSPolicy = p }
	}
	value, empty := "1", ""
	with := func(p corev1.DNSPolicy, config miniv1.PodDNSConfig) func(*miniv1.MiniPodSpec) {
		return func(s *miniv1.MiniPodSpec) { s.DNSPolicy, s.DNSConfig = p, &config }
	}
	const inCluster = "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example lab.example\nnameserver 10.96.0.10\noptions ndots:5\n"
	own := miniv1.PodDNSConfig{
		Nameservers: []string{"192.0.2.2", "192.0.2.9"}, Searches: []string{"lab.example", "my.example"},
		Options: []miniv1.PodDNSConfigOption{{Name: "ndots", Value: &value}, {Name: "edns0"}, {Name: "debug", Value: &empty}},
	}
	for name, c := range map[string]struct {
		change  func(*miniv1.MiniPodSpec)
		cluster names.Cluster
		want    string
	}{
		"nothing said, no cluster DNS":        {policy(""), names.Cluster{Domain: "cluster.local"}, node},
		"ClusterFirst, no cluster DNS":        {policy(corev1.DNSClusterFirst), names.Cluster{Domain: "cluster.local"}, node},
		"nothing said":                        {policy(""), cluster, inCluster},
		"ClusterFirst":                        {policy(corev1.DNSClusterFirst), cluster, inCluster},
		"in the node's network":               {func(s *miniv1.MiniPodSpec) { s.HostNetwork = true }, cluster, node},
		"in the node's network, ClusterFirst": {func(s *miniv1.MiniPodSpec) { s.HostNetwork, s.DNSPolicy = true, corev1.DNSClusterFirst }, cluster, node},
		"in the node's network, WithHostNet":  {func(s *miniv1.MiniPodSpec) { s.HostNetwork, s.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet }, cluster, inCluster},
		"ClusterFirstWithHostNet":             {policy(corev1.DNSClusterFirstWithHostNet), cluster, inCluster},
		"two servers, no domain":              {policy(""), names.Cluster{Servers: []string{"10.0.0.1", "10.0.0.2"}}, "search corp.example lab.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\n"},
		"Default":                             {policy(corev1.DNSDefault), cluster, node},
		"Default and more":                    {with(corev1.DNSDefault, own), cluster, "search corp.example lab.example my.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.9\noptions ndots:1 rotate timeout:1 edns0 debug\n"},
		"ClusterFirst and more":               {with("", own), cluster, "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example lab.example my.example\nnameserver 10.96.0.10\nnameserver 192.0.2.2\nnameserver 192.0.2.9\noptions ndots:1 edns0 debug\n"},
		"None":                                {with(corev1.DNSNone, own), cluster, "search lab.example my.example\nnameserver 192.0.2.2\nnameserver 192.0.2.9\noptions ndots:1 edns0 debug\n"},
		"None with a server alone":            {with(corev1.DNSNone, miniv1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}}), cluster, "nameserver 1.1.1.1\n"},
		"an empty config changes no domain":   {with(corev1.DNSDefault, miniv1.PodDNSConfig{}), cluster, "search corp.example lab.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2 rotate timeout:1\n"},
		"too many servers": {with(corev1.DNSDefault, miniv1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "1.1.1.2"}}), cluster,
			"search corp.example lab.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 1.1.1.1\noptions ndots:2 rotate timeout:1\n"},
	} {
		made, leftOut := names.Resolver(pod(c.change), []byte(node), c.cluster)
		if diff := cmp.Diff(c.want, string(made)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if many := name == "too many servers"; many != strings.HasSuffix(leftOut, "omitted, the applied nameserver line is: 192.0.2.1 192.0.2.2 1.1.1.1") || !many && leftOut != "" {
			t.Errorf("%s: left out: %q", name, leftOut)
		}
	}
	if len(cluster.Servers) != 1 || cluster.Servers[0] != "10.96.0.10" {
		t.Error("what the agent was told was changed")
	}
}

func TestNodeHosts(t *testing.T) {
	got := string(names.NodeHosts(pod(func(s *miniv1.MiniPodSpec) {
		s.HostAliases = []miniv1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"a"}}}
	}), []byte("127.0.0.1 localhost\n")))
	if want := "# Written by miniplane (host network).\n127.0.0.1 localhost\n\n# Entries added by HostAliases.\n10.1.2.3\ta\n"; got != want {
		t.Errorf("%q", got)
	}
}

// Of more domains than a resolver can have, the last are left out.
func TestSearchesWithinLimits(t *testing.T) {
	searches := func(n, length int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("%02d.%s", i, strings.Repeat("a", length-3)))
		}
		return out
	}
	for _, c := range []struct {
		node string
		own  []string
		want int
	}{
		{"", searches(32, 10), 32},
		{"search a b\n", searches(32, 10), 32},
		{"search " + strings.Join(searches(33, 10), " ") + "\n", []string{"x"}, 32},
		{"search " + strings.Join(searches(20, 101), " ") + "\n", []string{"x"}, 21}, // 2039 characters, and two more
		{"search " + strings.Join(searches(20, 101), " ") + "\n", searches(5, 200), 20},
		{"search " + strings.Repeat("x", 254) + " b\n", []string{"c"}, 2},
	} {
		made, leftOut := names.Resolver(pod(func(s *miniv1.MiniPodSpec) { s.DNSConfig = &miniv1.PodDNSConfig{Searches: c.own} }), []byte(c.node), names.Cluster{})
		line, _, _ := strings.Cut(string(made), "\n")
		if got := len(strings.Fields(line)) - 1; got != c.want || len(line) > len("search ")+2048 {
			t.Errorf("%d domains in %d characters, want %d", got, len(line), c.want)
		}
		all := len(strings.Fields(strings.TrimPrefix(c.node, "search "))) + len(c.own)
		if told := strings.Contains(leftOut, "some search paths have been omitted, the applied search line is: "); told != (all > c.want) {
			t.Errorf("%d of %d domains, and left out: %q", c.want, all, leftOut)
		}
	}
}

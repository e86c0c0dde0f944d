package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// TestNames: what containers find in /etc/hosts and /etc/resolv.conf, and what the kernel tells them, where the agent knows the cluster's DNS;
// also after a container made something else of it, and was started again.
func TestNames(t *testing.T) {
	for name, flags := range shims {
		t.Run(name, func(t *testing.T) {
			testNames(t, newEnv(t, append(flags, "--cluster-dns=10.96.0.10", "--cluster-domain=mini.example")...))
		})
	}
}

func testNames(t *testing.T, e *env) {
	t.Helper()
	const says = `hostname; cat /etc/hostname; echo "$HOSTNAME"; sed 1,7d /etc/hosts; echo; cat /etc/resolv.conf; echo over
echo changed >/etc/hosts; echo changed >/etc/resolv.conf; [ -e /data/again ] && exec sleep 1000000; touch /data/again`
	value, yes := "2", true
	e.run(e.sh("a", says, func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "data", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "data", MountPath: "/data"}}
		p.Spec.Hostname, p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = "db", "dbs", &yes
		p.Spec.HostAliases = []miniv1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"foo.remote", "foo"}}, {IP: "10.1.2.4", Hostnames: []string{"bar"}}}
		p.Spec.DNSConfig = &miniv1.PodDNSConfig{Nameservers: []string{"192.0.2.7"}, Searches: []string{"own.example"},
			Options: []miniv1.PodDNSConfigOption{{Name: "ndots", Value: &value}, {Name: "edns0"}}}
	}))
	e.run(e.sh("b", says, func(p *miniv1.MiniPod) {
		p.Spec.Volumes = []miniv1.Volume{{Name: "data", EmptyDir: &miniv1.EmptyDirVolumeSource{}}}
		p.Spec.Containers[0].VolumeMounts = []miniv1.VolumeMount{{Name: "data", MountPath: "/data"}}
		p.Spec.DNSPolicy = corev1.DNSNone
		p.Spec.DNSConfig = &miniv1.PodDNSConfig{Nameservers: []string{"192.0.2.7", "192.0.2.8"}}
	}))
	e.run(e.sh("c", "exec sleep 1000000", func(p *miniv1.MiniPod) {
		p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = strings.Repeat("s", 60), &yes
	}))
	whole := "db.dbs." + e.namespace + ".svc.mini.example"
	services := e.namespace + ".svc.mini.example svc.mini.example mini.example"
	for name, want := range map[string]func(address string) []string{
		"a": func(address string) []string {
			return []string{whole, whole, whole, address + "\t" + whole + "\tdb", "", "# Entries added by HostAliases.", "10.1.2.3\tfoo.remote\tfoo", "10.1.2.4\tbar", "",
				"search " + services + " own.example", "nameserver 10.96.0.10", "nameserver 192.0.2.7", "options ndots:2 edns0", "over"}
		},
		"b": func(address string) []string {
			return []string{"b", "b", "b", address + "\tb", "", "nameserver 192.0.2.7", "nameserver 192.0.2.8", "over"}
		},
	} {
		e.until(name+" was started again", func() bool {
			now := e.get(name)
			return now.Status.Restarts == 1 && now.Status.Summary == "Running"
		})
		pod := e.get(name)
		e.until(name+" has said it", func() bool { return strings.HasSuffix(e.logOf(pod), " F over\n") })
		said, lines := plain(e.logOf(pod)), strings.Join(want(pod.Status.PodIP), "\n")
		// The node may have domains of its own, which come between.
		if node := domainsOf(said); name == "a" && node != "" {
			lines = strings.Replace(lines, services, services+" "+node, 1)
		}
		if said != lines+"\n" {
			t.Errorf("%s says\n%s\nand should\n%s", name, said, lines)
		}
	}
	e.until("the one with too long a name says so", func() bool {
		waiting := e.get("c").Status.ContainerStatuses
		return len(waiting) > 0 && waiting[0].State.Waiting != nil && strings.Contains(waiting[0].State.Waiting.Message, "a host name can have 64")
	})
	for _, name := range []string{"a", "b", "c"} {
		e.delete(name)
		e.gone(name)
	}
	e.clean()
}

// plain is a log without what is in front of each line.
func plain(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		out.WriteString(line[strings.Index(line, " F ")+len(" F "):])
	}
	return out.String()
}

// domainsOf are the domains between those of the cluster and the MiniPod's own.
func domainsOf(said string) string {
	_, rest, _ := strings.Cut(said, " mini.example ")
	between, _, found := strings.Cut(rest, "own.example")
	if !found {
		return ""
	}
	return strings.TrimSpace(between)
}

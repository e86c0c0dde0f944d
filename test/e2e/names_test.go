package e2e

import (
	"strings"
	"testing"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Lines of /etc/hosts, servers of names and a domain of its own, as a user writes them for a native Pod.
func TestNames(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	apply(t, ns, `apiVersion: miniplane.dev/v1alpha1
kind: MiniPod
metadata: {name: db-0, labels: {app: db}}
spec:
  restartPolicy: Never
  hostname: primary
  subdomain: dbs
  setHostnameAsFQDN: true
  hostAliases:
  - ip: 10.1.2.3
    hostnames: [foo.remote, bar.remote]
  dnsPolicy: None
  dnsConfig:
    nameservers: [192.0.2.1]
    searches: [`+ns+`.svc.cluster-domain.example, my.dns.search.suffix]
    options: [{name: ndots, value: "2"}, {name: edns0}]
  containers:
  - name: main
    image: `+busybox+`
    command: [sh, -c]
    args: ['{ hostname; grep primary /etc/hosts; grep remote /etc/hosts; cat /etc/resolv.conf; } >/dev/termination-log']
`)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "it ends well", func() (bool, string) {
		out := kubectl(t, ns, "get", "minipod", "db-0", "-o", "jsonpath={.status.phase}")
		return out == "Succeeded", out
	})
	said := kubectl(t, ns, "get", "minipod", "db-0", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.message}")
	ip := kubectl(t, ns, "get", "minipod", "db-0", "-o", "jsonpath={.status.podIP}")
	whole := "primary.dbs." + ns + ".svc.cluster.local"
	want := strings.Join([]string{whole, ip + "\t" + whole + "\tprimary", "10.1.2.3\tfoo.remote\tbar.remote",
		"search " + ns + ".svc.cluster-domain.example my.dns.search.suffix", "nameserver 192.0.2.1", "options ndots:2 edns0", ""}, "\n")
	if strings.TrimSpace(said) != strings.TrimSpace(want) {
		t.Errorf("it says\n%s\nand should\n%s", said, want)
	}
	kubectl(t, ns, "delete", "minipod", "db-0", "--timeout=60s")
}

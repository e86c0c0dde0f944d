package proxy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"miniplane.dev/miniplane/nodeagent/iptables"
	"miniplane.dev/miniplane/nodeagent/nettest"
)

func benchNode(b *testing.B, programs iptables.Programs) *testNode {
	b.Helper()
	ns := nettest.New(b, "node")
	ns.Run("ip", "addr", "add", "10.0.0.1/32", "dev", "lo")
	return newNode(b, ns, programs, "10.0.0.1", "100.64.0.0/22")
}

func (n *testNode) fill(services []Service) {
	for _, s := range services {
		n.proxy.rules.set("service/"+s.Name, n.proxy.rules.service(s))
	}
}

// BenchmarkFromNothing writes all rules of so many services to an empty kernel.
func BenchmarkFromNothing(b *testing.B) {
	for _, name := range []string{"nft", "legacy"} {
		for _, count := range []int{1000, 10_000} {
			b.Run(fmt.Sprintf("%s/services=%d", name, count), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					n := benchNode(b, backends[name])
					b.StartTimer()
					n.fill(many(count))
					n.sync()
				}
			})
		}
	}
}

// BenchmarkEndpointChange changes the backends of one service of many and waits until the kernel has the rule.
func BenchmarkEndpointChange(b *testing.B) {
	for _, name := range []string{"nft", "legacy"} {
		for _, count := range []int{1000, 10_000} {
			b.Run(fmt.Sprintf("%s/services=%d", name, count), func(b *testing.B) {
				n := benchNode(b, backends[name])
				services := many(count)
				n.fill(services)
				n.sync()
				i := 0
				for b.Loop() {
					i++
					s := services[i%count]
					s.Ports = []Port{tcp(80, fmt.Sprintf("100.64.9.%d:80", 1+i%250))}
					n.fill([]Service{s})
					n.sync()
				}
			})
		}
	}
}

// BenchmarkFirstPacket connects to services by tcp, from a MiniPod to another one on the node, and shows the median and the
// 99th of a hundred; to the address itself (direct) for comparison.
func BenchmarkFirstPacket(b *testing.B) {
	for _, name := range []string{"nft", "legacy"} {
		for _, count := range []int{10, 1000, 10_000} {
			n := benchNode(b, backends[name])
			services := many(count)
			client, _ := n.pod("client")
			server, addr := n.pod("server")
			server.Serve("server", ":80")
			for i := range services {
				services[i].Ports = []Port{tcp(80, addr.String()+":80")}
			}
			n.fill(services)
			n.sync()
			for _, way := range []string{"service", "direct"} {
				b.Run(fmt.Sprintf("%s/services=%d/%s", name, count, way), func(b *testing.B) {
					var took []time.Duration
					i := 0
					client.Do(func() {
						for b.Loop() {
							i += 7
							to := fmt.Sprintf("%s:80", services[i%count].VIP)
							if way == "direct" {
								to = addr.String() + ":80"
							}
							start := time.Now()
							conn, err := nettest.Connect("tcp", to)
							if err != nil {
								b.Fatal(err)
							}
							took = append(took, time.Since(start))
							_ = conn.Close()
						}
					})
					slices.Sort(took)
					b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
					b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
				})
			}
		}
	}
}

// BenchmarkRender makes the difference for a change of one service's backends, without the kernel.
func BenchmarkRender(b *testing.B) {
	w := newWorld(b, many(10_000)...)
	s := svc("s1", "100.96.77.77", tcp(80, "100.64.9.1:80"))
	i := 0
	for b.Loop() {
		i++
		s.Ports = []Port{tcp(80, fmt.Sprintf("100.64.9.%d:80", 1+i%250))}
		w.rules.set("service/"+s.Name, w.rules.service(s))
		c := w.rules.changes()
		_ = c.inputs(w.tables.BatchSize())
		w.rules.commit(c)
	}
}

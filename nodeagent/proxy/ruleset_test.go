package proxy

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"miniplane.dev/miniplane/nodeagent/iptables/fake"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	localPod, otherLocal   = "100.64.0.7", "100.64.0.8"
	remotePod, otherRemote = "100.64.4.7", "100.64.8.9"
	outside                = "192.0.2.1"
)

// fewServices is a world with one of each kind.
func fewServices(t *testing.T) *world {
	t.Helper()
	w := newWorld(t,
		svc("local", "100.96.0.1", tcp(80, "100.64.0.7:8080").on(30080), udp(53, "100.64.0.7:5353").on(30053)),
		svc("remote", "100.96.0.2", tcp(80, "100.64.4.7:8080").on(30081)),
		svc("empty", "100.96.0.3", tcp(80).on(30082), udp(53).on(30054)),
		svc("elsewhere", "100.96.0.4", tcp(443, "10.9.9.9:6443")),
		svc("thief", "8.8.8.8", tcp(53, "100.64.0.7:8080").on(30090)))
	w.hostPorts("uid", HostPort{Protocol: TCP, Port: 8443, To: at("100.64.0.7:443")})
	return w
}

func TestWhereEachPacketGoes(t *testing.T) {
	w := fewServices(t)
	tests := []struct{ name, protocol, src, dst, want string }{
		{"pod to service, local backend", "tcp", otherLocal, "100.96.0.1:80", "100.64.0.7:8080"},
		{"pod to service, udp", "udp", otherLocal, "100.96.0.1:53", "100.64.0.7:5353"},
		{"pod to service, remote backend", "tcp", otherLocal, "100.96.0.2:80", "100.64.4.7:8080"},
		{"pod to service, backend outside", "tcp", otherLocal, "100.96.0.4:443", "10.9.9.9:6443 masqueraded"},
		{"pod to itself by service", "tcp", localPod, "100.96.0.1:80", "100.64.0.7:8080 masqueraded"},
		{"pod to itself by node port", "tcp", localPod, "10.0.0.1:30080", "100.64.0.7:8080 masqueraded"},
		{"pod to itself by host port", "tcp", localPod, "10.0.0.1:8443", "100.64.0.7:443 masqueraded"},
		{"pod to a service without backends", "tcp", localPod, "100.96.0.3:80", "refused"},
		{"pod to a port that no service has", "tcp", localPod, "100.96.0.1:81", "refused"},
		{"pod to a protocol that the port has not", "udp", localPod, "100.96.0.1:80", "refused"},
		{"pod to an address that no service has", "tcp", localPod, "100.96.7.7:80", "refused"},
		{"pod to pod", "tcp", localPod, "100.64.0.8:80", "100.64.0.8:80"},
		{"pod to remote pod", "tcp", localPod, "100.64.4.7:80", "100.64.4.7:80"},
		{"remote pod to pod", "tcp", remotePod, "100.64.0.7:80", "100.64.0.7:80"},
		{"pod to the outside", "tcp", localPod, "192.0.2.1:80", "192.0.2.1:80 masqueraded"},
		{"pod to a stolen address", "tcp", localPod, "8.8.8.8:53", "8.8.8.8:53 masqueraded"},
		{"a thief's node port", "tcp", outside, "10.0.0.1:30090", "10.0.0.1:30090"},
		{"pod to node port, local backend", "tcp", otherLocal, "10.0.0.1:30080", "100.64.0.7:8080"},
		{"pod to node port, remote backend", "tcp", otherLocal, "10.0.0.1:30081", "100.64.4.7:8080"},
		{"pod to the node itself", "tcp", localPod, "10.0.0.1:22", "10.0.0.1:22"},
		{"outside to node port, local backend", "tcp", outside, "10.0.0.1:30080", "100.64.0.7:8080"},
		{"outside to node port, udp", "udp", outside, "10.0.0.1:30053", "100.64.0.7:5353"},
		{"outside to node port, remote backend", "tcp", outside, "10.0.0.1:30081", "100.64.4.7:8080 masqueraded"},
		{"outside to node port without backends", "tcp", outside, "10.0.0.1:30082", "refused"},
		{"outside to node port without backends, udp", "udp", outside, "10.0.0.1:30054", "refused"},
		{"outside to node port of the other protocol", "udp", outside, "10.0.0.1:30080", "10.0.0.1:30080"},
		{"outside to host port", "tcp", outside, "10.0.0.1:8443", "100.64.0.7:443"},
		{"outside to outside", "tcp", outside, "192.0.2.9:80", "192.0.2.9:80"},
		{"outside to a service, remote backend", "tcp", outside, "100.96.0.2:80", "100.64.4.7:8080 masqueraded"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			same(t, "verdict", test.want, words(w.send(test.protocol, test.src, test.dst)))
		})
	}
}

func TestWhereTheNodesOwnPacketsGo(t *testing.T) {
	w := fewServices(t)
	tests := []struct{ name, dst, want string }{
		{"to service, local backend", "100.96.0.1:80", "100.64.0.7:8080"},
		{"to service, remote backend", "100.96.0.2:80", "100.64.4.7:8080 masqueraded"},
		{"to service, backend outside", "100.96.0.4:443", "10.9.9.9:6443 masqueraded"},
		{"to service without backends", "100.96.0.3:80", "refused"},
		{"to node port, local backend", "10.0.0.1:30080", "100.64.0.7:8080"},
		{"to node port, remote backend", "10.0.0.1:30081", "100.64.4.7:8080 masqueraded"},
		{"to node port without backends", "10.0.0.1:30082", "refused"},
		{"to host port", "10.0.0.1:8443", "100.64.0.7:443"},
		{"to a port of its own loopback", "127.0.0.1:30080", "127.0.0.1:30080"},
		{"to a pod", "100.64.0.7:80", "100.64.0.7:80"},
		{"to the outside", "192.0.2.1:80", "192.0.2.1:80"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			same(t, "verdict", test.want, words(w.sendFromHost("tcp", test.dst)))
		})
	}
}

func TestBackendsAreChosenAlike(t *testing.T) {
	backends := []string{"100.64.0.7:80", "100.64.4.7:80", "100.64.4.8:80", "100.64.8.9:80"}
	w := newWorld(t, svc("a", "100.96.0.1", tcp(80, backends...)))
	for backend, count := range w.spread("tcp", otherLocal, "100.96.0.1:80") {
		if !slices.Contains(backends, backend) || count < 200 || count > 300 {
			t.Errorf("%s was chosen %d times of 1000", backend, count)
		}
	}
}

func TestAffinity(t *testing.T) {
	backends := []string{"100.64.0.7:80", "100.64.4.7:80", "100.64.4.8:80"}
	w := newWorld(t, svc("a", "100.96.0.1", tcp(80, backends...).on(30080)).sticky(60))
	w.kernel.Now = time.Unix(1000, 0)
	first := w.send("tcp", otherLocal, "100.96.0.1:80").Dst.String()
	same(t, "all go where the first went", map[string]int{first: 1000}, w.spread("tcp", otherLocal, "100.96.0.1:80"))
	same(t, "by node port too", map[string]int{first: 1000}, w.spread("tcp", otherLocal, "10.0.0.1:30080"))

	clients := map[string]bool{}
	for i := range 100 {
		clients[w.send("tcp", fmt.Sprintf("192.0.2.%d", i), "100.96.0.1:80").Dst.String()] = true
	}
	same(t, "clients are spread over the backends", 3, len(clients))

	w.kernel.Now = w.kernel.Now.Add(59 * time.Second)
	same(t, "within the time", first, w.send("tcp", otherLocal, "100.96.0.1:80").Dst.String())
	w.kernel.Now = w.kernel.Now.Add(59 * time.Second)
	same(t, "each connection prolongs it", first, w.send("tcp", otherLocal, "100.96.0.1:80").Dst.String())

	left := slices.DeleteFunc(slices.Clone(backends), func(b string) bool { return b == first })
	w.set(svc("a", "100.96.0.1", tcp(80, left...).on(30080)).sticky(60))
	second := w.send("tcp", otherLocal, "100.96.0.1:80").Dst.String()
	if second == first {
		t.Errorf("%s is no backend any more", first)
	}
	same(t, "the client stays with its new one", map[string]int{second: 1000}, w.spread("tcp", otherLocal, "100.96.0.1:80"))
}

// The number of rules that the first packet of a connection passes must not grow with the number of services.
func TestRulesPassed(t *testing.T) {
	tests := []struct{ services, mean, most int }{{10, 24, 30}, {1000, 36, 52}, {10_000, 41, 60}}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.services), func(t *testing.T) {
			services := many(test.services)
			w := newWorld(t, services...)
			sum, most, count := 0, 0, 0
			note := func(v fake.Verdict, s Service) {
				if !slices.Contains(s.Ports[0].Backends, v.Dst) {
					t.Fatalf("%s: went to %s", s.Name, v.Dst)
				}
				sum, most, count = sum+v.Rules, max(most, v.Rules), count+1
			}
			for _, s := range services {
				note(w.send("tcp", otherLocal, fmt.Sprintf("%s:80", s.VIP)), s)
				if s.Ports[0].NodePort != 0 {
					note(w.send("tcp", outside, fmt.Sprintf("10.0.0.1:%d", s.Ports[0].NodePort)), s)
				}
			}
			t.Logf("%d services: mean %d, most %d rules", test.services, sum/count, most)
			if sum/count > test.mean || most > test.most {
				t.Errorf("mean %d, most %d rules; want at most %d, %d", sum/count, most, test.mean, test.most)
			}
		})
	}
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	services := many(1000)
	w := newWorld(t, services...)
	written, removed := w.apply()
	same(t, "nothing changed", []int{0, 0}, []int{written, removed})

	s := services[500]
	s.Ports = []Port{tcp(80, "100.64.0.99:80")}
	w.rules.set("service/"+s.Name, w.rules.service(s))
	written, removed = w.apply()
	if written > 3 || removed > 1 { // its own chain, and those of the new and old backends' hairpin
		t.Errorf("new backends of one service: %d chains written, %d removed", written, removed)
	}
	w.rules.set("service/"+s.Name, contribution{})
	written, removed = w.apply()
	if written > 10 || removed > 3 {
		t.Errorf("one service less: %d chains written, %d removed", written, removed)
	}
}

// Whatever is set and deleted in whatever order, the tables are those of a node that saw only the end.
func TestDifferencesAddUp(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		w, services, pods := newWorld(t), map[string]Service{}, map[string][]HostPort{}
		for range 60 {
			for range 1 + random.IntN(5) {
				mutate(random, w, services, pods)
			}
			w.apply()
		}
		fresh := newWorld(t)
		for _, s := range services {
			fresh.rules.set("service/"+s.Name, fresh.rules.service(s))
		}
		for uid, ports := range pods {
			fresh.rules.set(hostPortOwner(uid), fresh.rules.hostPorts(ports))
		}
		fresh.apply()
		if diff := cmp.Diff(fresh.tables.Dump(), w.tables.Dump()); diff != "" {
			t.Fatalf("seed %d (-from nothing +by differences):\n%s", seed, diff)
		}
		for _, name := range sortedKeys(services) {
			w.rules.set("service/"+name, contribution{})
		}
		for uid := range pods {
			w.rules.set(hostPortOwner(uid), contribution{})
		}
		w.apply()
		same(t, "all gone", newWorld(t).tables.Dump(), w.tables.Dump())
	}
}

// mutate sets or deletes something, from so few addresses and ports that services get in each other's way.
func mutate(random *rand.Rand, w *world, services map[string]Service, pods map[string][]HostPort) {
	if random.IntN(6) == 0 {
		uid := fmt.Sprint("uid", random.IntN(5))
		pods[uid] = nil
		for range random.IntN(3) {
			pods[uid] = append(pods[uid], HostPort{Protocol: TCP, Port: uint16(30000 + random.IntN(60)), To: at("100.64.0.9:80")})
		}
		w.rules.set(hostPortOwner(uid), w.rules.hostPorts(pods[uid]))
		return
	}
	name := fmt.Sprint("s", random.IntN(100))
	if random.IntN(3) == 0 {
		delete(services, "ns/"+name)
		w.rules.set("service/ns/"+name, contribution{})
		return
	}
	s := svc(name, fmt.Sprintf("100.96.%d.%d", random.IntN(2), random.IntN(64)))
	for i := range 1 + random.IntN(2) {
		p := Port{Protocol: []Protocol{TCP, UDP}[random.IntN(2)], Port: uint16(80 + i), NodePort: uint16(30000 + random.IntN(60))}
		for range random.IntN(3) {
			p.Backends = append(p.Backends, at(fmt.Sprintf("100.64.%d.%d:80", random.IntN(8), 2+random.IntN(30))))
		}
		s.Ports = append(s.Ports, p)
	}
	services[s.Name] = s
	w.rules.set("service/"+s.Name, w.rules.service(s))
}

func sortedKeys(m map[string]Service) []string {
	var out []string
	for key := range m {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

// A big change comes in several inputs. After each of them, every packet must go where it went before or will go after.
func TestNoGapBetweenInputs(t *testing.T) {
	services := many(400)
	for _, most := range []int{1, 7, 100} {
		w := newWorld(t, services...)
		w.rules.forget() // as a new agent does
		inputs := w.rules.changes().inputs(most)
		for i, input := range inputs {
			if err := w.tables.Restore(context.Background(), input); err != nil {
				t.Fatal(err)
			}
			for k := i % 7; k < len(services); k += 7 {
				v := w.send("tcp", otherLocal, fmt.Sprintf("%s:80", services[k].VIP))
				if !slices.Contains(services[k].Ports[0].Backends, v.Dst) {
					t.Fatalf("after input %d of %d: %s is a gap", i+1, len(inputs), services[k].Name)
				}
			}
		}
	}
}

// On a node without rules, what leads to chains must come after them, wherever the inputs are cut.
func TestInputsFromNothing(t *testing.T) {
	for _, most := range []int{1, 2, 3, 5, 1000} {
		tables, rules := &fake.Tables{}, newRuleset(testConfig)
		for _, s := range append(many(60), svc("two", "100.96.0.1", tcp(80, "100.64.0.7:80"), udp(53))) {
			rules.set("service/"+s.Name, rules.service(s))
		}
		for _, input := range rules.changes().inputs(most) {
			if err := tables.Restore(context.Background(), input); err != nil {
				t.Fatalf("at most %d chains: %v in\n%s", most, err, input)
			}
		}
	}
}

func TestGolden(t *testing.T) {
	tests := map[string]*world{
		"empty": newWorld(t),
		"small": newWorld(t,
			svc("web", "100.96.0.1", tcp(80, "100.64.0.7:8080", "100.64.4.7:8080").named("http").on(30080), udp(53, "100.64.0.7:53").named("dns")),
			svc("sticky", "100.96.0.2", tcp(80, "100.64.0.8:80", "100.64.4.8:80")).sticky(10800),
			svc("none", "100.96.0.3", tcp(80).on(30081))),
		"tree": newWorld(t, many(12)...),
	}
	tests["small"].hostPorts("uid", HostPort{Protocol: UDP, Port: 5353, To: at("100.64.0.7:53")})
	for name, w := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".rules")
			if *update {
				if err := os.WriteFile(path, []byte(w.tables.Dump()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			same(t, path, string(want), w.tables.Dump())
		})
	}
}

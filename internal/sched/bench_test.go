package sched_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/quota"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/queue"
	"miniplane.dev/miniplane/test/builders"
)

const (
	benchNodes = 5000
	benchPods  = 50_000
)

// BenchmarkDecisions places 50 000 MiniPods on 5000 nodes in memory: queue, quota, decision and assumption, everything
// but the API server. It reports decisions per second, by how many different MiniPods there are.
func BenchmarkDecisions(b *testing.B) {
	for _, c := range []struct {
		name string
		apps int
		// shapes is how many different requests there are.
		shapes int
		pods   int
	}{
		{"one replica set", 1, 1, benchPods},
		{"100 replica sets mixed", 100, 10, benchPods},
		{"5000 replica sets of 10 mixed", 5000, 10, benchPods},
		{"every MiniPod by itself", benchPods, 1, benchPods},
		{"every MiniPod of another shape", benchPods, benchPods, 2000}, // nothing can be kept: the scan itself
	} {
		b.Run(c.name, func(b *testing.B) {
			pods := make([]*framework.Pod, c.pods)
			for i := range pods {
				app := i % c.apps
				pods[i] = framework.NewPod(builders.Pod("ns", fmt.Sprint(i)).Labels(map[string]string{"app": fmt.Sprint(app)}).
					Requests(fmt.Sprintf("%dm", 10+app%c.shapes%900), fmt.Sprintf("%dKi", 16*1024+app%c.shapes)).Obj())
			}
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b, benchNodes, "32", "64Gi", 110)
				ledger, q := quota.NewLedger(), queue.New(time.Now)
				for _, p := range pods {
					q.Add(p)
				}
				b.StartTimer()
				start, cpu := time.Now(), cpuSeconds()
				placeAll(b, w, q, ledger)
				b.ReportMetric(float64(len(pods))/time.Since(start).Seconds(), "decisions/s")
				b.ReportMetric(float64(len(pods))/(cpuSeconds()-cpu), "decisions/cpu-s")
			}
		})
	}
}

// BenchmarkAround places MiniPods that look at others on 1000 nodes in ten zones, beside 5000 MiniPods of 500 applications that are there.
func BenchmarkAround(b *testing.B) {
	const nodes, pods = 1000, 1000
	prefer := func(s *miniv1.MiniPodSpec) {
		s.Affinity = &miniv1.Affinity{PodAntiAffinity: &miniv1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []miniv1.WeightedPodAffinityTerm{
			{Weight: 100, PodAffinityTerm: miniv1.PodAffinityTerm{TopologyKey: host, LabelSelector: labelled("web")}}}}}
	}
	for _, c := range []struct {
		name string
		apps int
		ask  func(app string) func(*miniv1.MiniPodSpec)
	}{
		{"nothing asked", 1, func(string) func(*miniv1.MiniPodSpec) { return func(*miniv1.MiniPodSpec) {} }},
		{"not with its like on a node", 1, func(app string) func(*miniv1.MiniPodSpec) { return awayFrom(app, host) }},
		{"rather not with its like", 1, func(string) func(*miniv1.MiniPodSpec) { return prefer }},
		{"100 applications, each not with its like", 100, func(app string) func(*miniv1.MiniPodSpec) { return awayFrom(app, host) }},
		{"with its like in a zone", 1, func(app string) func(*miniv1.MiniPodSpec) { return near(app, "zone") }},
		{"even over zones", 1, func(app string) func(*miniv1.MiniPodSpec) { return evenly(app, "zone", corev1.DoNotSchedule) }},
		{"even over nodes", 1, func(app string) func(*miniv1.MiniPodSpec) { return evenly(app, host, corev1.DoNotSchedule) }},
		{"even over nodes, if it can be", 1, func(app string) func(*miniv1.MiniPodSpec) { return evenly(app, host, corev1.ScheduleAnyway) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			all := make([]*framework.Pod, pods)
			for i := range all {
				name := "web"
				if c.apps > 1 {
					name = fmt.Sprint("web", i%c.apps)
				}
				all[i] = around(fmt.Sprint(i), name, c.ask(name))
			}
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b, nodes, "32", "64Gi", 110)
				for i := range nodes {
					w.core(fmt.Sprintf("n%d", i), func(n *corev1.Node) { n.Labels["zone"] = fmt.Sprint(i % 10) })
				}
				for i := range 5000 {
					w.cache.Assume(app(fmt.Sprint("there", i), fmt.Sprint("app", i%500), "10m"), fmt.Sprintf("n%d", i%nodes))
				}
				q := queue.New(time.Now)
				for _, p := range all {
					q.Add(p)
				}
				b.StartTimer()
				start, cpu := time.Now(), cpuSeconds()
				placeAll(b, w, q, quota.NewLedger())
				b.ReportMetric(float64(len(all))/time.Since(start).Seconds(), "decisions/s")
				b.ReportMetric(float64(len(all))/(cpuSeconds()-cpu), "decisions/cpu-s")
			}
		})
	}
}

// BenchmarkAmongTerms asks for a place for MiniPods that ask for nothing, on 1000 nodes, while so many others are there that have 32 terms each, all different and
// all about everybody.
func BenchmarkAmongTerms(b *testing.B) {
	for _, others := range []int{0, 10, 100} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			w := newWorld(b, 1000, "32", "64Gi", 110)
			for i := range others {
				w.cache.Assume(around(fmt.Sprint("other", i), "other", func(s *miniv1.MiniPodSpec) {
					s.Affinity = &miniv1.Affinity{PodAntiAffinity: &miniv1.PodAntiAffinity{}}
					to := s.Affinity.PodAntiAffinity
					for t := range 16 {
						term := miniv1.PodAffinityTerm{TopologyKey: host, LabelSelector: &miniv1.LabelSelector{MatchExpressions: []miniv1.LabelSelectorRequirement{
							{Key: fmt.Sprint("k", i*16+t), Operator: metav1.LabelSelectorOpDoesNotExist}}}}
						to.RequiredDuringSchedulingIgnoredDuringExecution = append(to.RequiredDuringSchedulingIgnoredDuringExecution, term)
						to.PreferredDuringSchedulingIgnoredDuringExecution = append(to.PreferredDuringSchedulingIgnoredDuringExecution,
							miniv1.WeightedPodAffinityTerm{Weight: 1, PodAffinityTerm: term})
					}
				}), fmt.Sprintf("n%d", i))
			}
			for i := 0; b.Loop(); i++ {
				if d := w.cycle.Decide(app(fmt.Sprint(i), "web", "1m")); d.Node == "" {
					b.Fatal(d.Message)
				}
			}
		})
	}
}

// cpuSeconds is what this process has used, which says more than the clock where others work on the same machine.
func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// placeAll does what the loop of controllers/scheduling does, without writing.
func placeAll(b *testing.B, w *world, q *queue.Queue, ledger *quota.Ledger) {
	b.Helper()
	for p, ok := q.Pop(); ok; p, ok = q.Pop() {
		d := w.cycle.Decide(p)
		if d.Node == "" || ledger.Admit(p.UID, p.Namespace, &p.Charge) != nil {
			b.Fatal(d.Message)
		}
		w.cache.Assume(p, d.Node)
		q.Placed(p)
		w.cache.Confirm(p.UID)
		q.Delete(p.UID)
	}
}

// BenchmarkUnschedulable asks for a place for 10 000 equal MiniPods on 5000 full nodes, and then frees one place.
func BenchmarkUnschedulable(b *testing.B) {
	w := newWorld(b, benchNodes, "1", "1Gi", 110)
	for i := range benchNodes {
		w.cache.Assume(app(fmt.Sprint("full", i), "full", "1"), fmt.Sprintf("n%d", i))
	}
	i := 0
	for b.Loop() {
		i++
		if d := w.cycle.Decide(app(fmt.Sprint(i), "more", "1")); d.Node != "" {
			b.Fatal("placed on a full node")
		}
	}
}

// BenchmarkUnschedulableAround asks for a place for equal MiniPods on 1000 nodes, each of which has one that excludes them.
func BenchmarkUnschedulableAround(b *testing.B) {
	const nodes = 1000
	w := newWorld(b, nodes, "32", "64Gi", 110)
	for i := range nodes {
		w.cache.Assume(around(fmt.Sprint("there", i), "web", awayFrom("web", host)), fmt.Sprintf("n%d", i))
	}
	i := 0
	for b.Loop() {
		i++
		if d := w.cycle.Decide(around(fmt.Sprint(i), "web", awayFrom("web", host))); d.Node != "" {
			b.Fatal("placed where it is excluded")
		}
	}
}

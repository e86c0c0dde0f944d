package scheduling

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/quota"
	"miniplane.dev/miniplane/internal/sched"
	"miniplane.dev/miniplane/internal/sched/cache"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/queue"
	"miniplane.dev/miniplane/test/worlds"
)

// fed is a scheduler without an API server: it is told what informers would tell, and its decisions are as good as written.
type fed struct {
	*testing.T
	*worlds.World
	*Scheduler
	nodes map[string]*corev1.Node
	pods  map[string]*miniv1.MiniPod
	// parking are MiniPods that found no node, which is still being written.
	parking []parking
	// waited are those that waited once, and went how many of them have a node.
	waited map[string]bool
	went   int
}

type parking struct {
	pod *framework.Pod
	out outcome
}

func newFed(t *testing.T, seed uint64) *fed {
	profile, err := sched.DefaultProfile(nil)
	if err != nil {
		t.Fatal(err)
	}
	nodes := cache.New()
	f := &fed{T: t, World: worlds.New(seed), nodes: map[string]*corev1.Node{}, pods: map[string]*miniv1.MiniPod{}, waited: map[string]bool{},
		Scheduler: &Scheduler{profile: profile, cache: nodes, queue: queue.New(time.Now), ledger: quota.NewLedger(), cycle: sched.NewCycle(nodes, profile, seed)}}
	for _, ns := range worlds.Namespaces {
		f.relabelNamespace(ns)
	}
	for i := range 5 {
		f.setNode(fmt.Sprintf("n%d", i))
	}
	return f
}

func (f *fed) relabelNamespace(name string) {
	f.namespaceSeen(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: f.Labels()}})
}

func (f *fed) setNode(name string) {
	node := f.Node(name)
	node.Spec.Unschedulable = f.IntN(6) == 0
	f.nodes[name] = node
	f.miniNodeSeen(&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: miniv1.MiniNodeStatus{PodCIDR: "100.64.0.0/22",
		Allocatable: corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("4Gi"), "pods": resource.MustParse("6")},
		Conditions:  []metav1.Condition{{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue}}}})
	f.coreNodeSeen(node)
}

func (f *fed) dropNode(name string) {
	f.miniNodeGone(&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: name}})
	f.coreNodeGone(f.nodes[name])
	delete(f.nodes, name)
}

func (f *fed) anyPod() *miniv1.MiniPod {
	names := slices.Sorted(maps.Keys(f.pods))
	return f.pods[names[f.IntN(len(names))]]
}

// update is what the informer tells when a MiniPod was changed.
func (f *fed) update(pod *miniv1.MiniPod, change func(*miniv1.MiniPod)) {
	now := pod.DeepCopy()
	change(now)
	f.pods[pod.Name] = now
	f.podUpdated(pod, now)
}

// step lets something happen.
func (f *fed) step(i int) {
	switch what := f.IntN(12); {
	case what < 4 || len(f.pods) < 5:
		pod := f.Pod(fmt.Sprintf("p%d", i))
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse([]string{"100m", "400m"}[f.IntN(2)])}
		if f.IntN(2) == 0 { // of one owner, with different labels
			owns := true
			pod.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(pod.Namespace), Controller: &owns}}
		}
		f.pods[pod.Name] = pod
		f.podAdded(pod)
	case what < 6:
		pod := f.anyPod()
		delete(f.pods, pod.Name)
		f.podDeleted(pod)
	case what < 8:
		f.update(f.anyPod(), func(p *miniv1.MiniPod) { p.Labels = f.Labels() })
	case what == 8:
		if pod := f.anyPod(); pod.Status.NodeName != "" {
			f.update(pod, func(p *miniv1.MiniPod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} })
		}
	case what == 9:
		f.relabelNamespace(worlds.Namespaces[f.IntN(3)])
	case what == 10:
		f.setNode(fmt.Sprintf("n%d", f.IntN(6)))
	case len(f.nodes) > 2:
		f.dropNode(slices.Sorted(maps.Keys(f.nodes))[f.IntN(len(f.nodes))])
	}
}

// tryNext does what the loop does, and its writers.
func (f *fed) tryNext() bool {
	pod, ok := f.queue.Pop()
	if !ok {
		return false
	}
	out := f.decide(pod)
	if out.node == "" {
		f.parking = append(f.parking, parking{pod, out})
		return true
	}
	if f.waited[pod.Name] {
		f.went++
	}
	f.cache.Confirm(pod.UID)
	f.queue.Delete(pod.UID)
	f.update(f.pods[pod.Name], func(p *miniv1.MiniPod) { p.Status.NodeName, p.Status.Phase = out.node, miniv1.PodPending })
	return true
}

func (f *fed) park() {
	for _, p := range f.parking {
		f.queue.Park(p.pod.UID, p.out.wait)
		f.waited[p.pod.Name] = true
	}
	f.parking = nil
}

// Whatever happens, and in whatever order with what is being written, no MiniPod waits that could have a node.
func TestNobodyWaitsWhoCouldGo(t *testing.T) {
	waited, went := 0, 0
	for seed := range uint64(120) {
		f := newFed(t, seed)
		for i := range 120 {
			f.step(i)
			for range f.IntN(3) { // while some is on its way
				f.tryNext()
			}
			if f.IntN(3) > 0 {
				continue
			}
			for f.tryNext() || len(f.parking) > 0 {
				f.park()
			}
			for _, name := range slices.Sorted(maps.Keys(f.pods)) {
				if pod := f.pods[name]; pod.Status.NodeName == "" && pod.DeletionTimestamp == nil {
					if d := f.cycle.Decide(framework.NewPod(pod)); d.Node != "" {
						t.Fatalf("seed %d, step %d: %s waits, and %s can take it", seed, i, name, d.Node)
					}
				}
			}
		}
		waited, went = waited+len(f.waited), went+f.went
	}
	t.Logf("%d MiniPods waited, of which %d went after all", waited, went)
	if waited < 1000 || went < 500 {
		t.Error("there was too little waiting to say much")
	}
}

// full is a world with one node that holds so many MiniPods.
func full(t *testing.T, pods string) *fed {
	f := newFed(t, 1)
	for name := range f.nodes {
		f.dropNode(name)
	}
	f.miniNodeSeen(&miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: miniv1.MiniNodeStatus{PodCIDR: "100.64.0.0/22",
		Allocatable: corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("4Gi"), "pods": resource.MustParse(pods)},
		Conditions:  []metav1.Condition{{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue}}}})
	f.coreNodeSeen(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelHostname: "n"}}})
	return f
}

// indexed adds a MiniPod of one owner with a label of its own.
func (f *fed) indexed(index string) {
	owns := true
	pod := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: worlds.Namespaces[0], Name: "p" + index, UID: types.UID("p" + index),
		CreationTimestamp: metav1.NewTime(time.Unix(int64(len(f.pods)), 0)),
		Labels:            map[string]string{"index": index}, OwnerReferences: []metav1.OwnerReference{{UID: "job", Controller: &owns}}}}
	f.pods[pod.Name] = pod
	f.podAdded(pod)
}

func (f *fed) tryAll() {
	for f.tryNext() {
		continue
	}
	f.park()
}

func (f *fed) wantDepths(want queue.Depths) {
	f.Helper()
	if got := f.queue.Depths(); got != want {
		f.Errorf("%+v, want %+v", got, want)
	}
}

// Each MiniPod of an Indexed MiniJob has a label of its own. One that ends wakes one of those that wait all the same, and not all.
func TestIndexesWakeOneByOne(t *testing.T) {
	f := full(t, "1")
	for i := range 100 {
		f.indexed(fmt.Sprint(i))
	}
	f.tryAll()
	f.wantDepths(queue.Depths{Waiting: 99})
	f.podDeleted(f.pods["p0"])
	f.wantDepths(queue.Depths{Waiting: 98, Active: 1})
}

// One that keeps others away by that label makes it matter: the first of those that wait may not go any more, and the second may.
func TestIndexesMatterToWhoKeepsThemAway(t *testing.T) {
	for name, wait := range map[string]func(f *fed){"before they wait": nil, "while they wait": (*fed).tryAll} {
		t.Run(name, func(t *testing.T) {
			f := full(t, "2")
			for _, index := range []string{"a", "b", "0", "1", "2"} {
				f.indexed(index)
			}
			if wait != nil {
				wait(f)
			}
			alone := &miniv1.MiniPod{ObjectMeta: metav1.ObjectMeta{Namespace: worlds.Namespaces[0], Name: "alone", UID: "alone"}}
			alone.Spec.Affinity = &miniv1.Affinity{PodAntiAffinity: &miniv1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []miniv1.PodAffinityTerm{
				{TopologyKey: corev1.LabelHostname, LabelSelector: &miniv1.LabelSelector{MatchLabels: map[string]miniv1.LabelValue{"index": "0"}}}}}}
			alone.Status.NodeName, alone.Status.Phase, alone.Finalizers = "n", miniv1.PodRunning, []string{miniv1.AgentFinalizer}
			f.podAdded(alone)
			f.tryAll()
			f.podDeleted(f.pods["pa"])
			f.podDeleted(f.pods["pb"])
			f.tryAll()
			if f.pods["p0"].Status.NodeName != "" || f.pods["p1"].Status.NodeName != "n" {
				t.Errorf("0 is on %q, 1 on %q", f.pods["p0"].Status.NodeName, f.pods["p1"].Status.NodeName)
			}
		})
	}
}

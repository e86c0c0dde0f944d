package differential

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/interpodaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeports"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeunschedulable"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/tainttoleration"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

// native is kube-scheduler's own plugins, with the feature gates that they have by default, asked about a snapshot.
type native struct {
	t *testing.T
	*cache.Snapshot
	namespaces informers.SharedInformerFactory
	filters    []fwk.FilterPlugin
	scores     map[string]fwk.ScorePlugin
}

func newNative(t *testing.T) *native {
	metrics.Register()
	n := &native{t: t, Snapshot: cache.NewEmptySnapshot(), namespaces: informers.NewSharedInformerFactory(fake.NewClientset(), 0), scores: map[string]fwk.ScorePlugin{}}
	handle, err := frameworkruntime.NewFramework(t.Context(), nil, nil, frameworkruntime.WithSnapshotSharedLister(n), frameworkruntime.WithInformerFactory(n.namespaces))
	n.must(err)
	gates := feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate)
	with := func(make func(context.Context, runtime.Object, fwk.Handle, feature.Features) (fwk.Plugin, error), args runtime.Object) {
		plugin, err := make(t.Context(), args, handle, gates)
		n.must(err)
		n.filters = append(n.filters, plugin.(fwk.FilterPlugin))
		if score, ok := plugin.(fwk.ScorePlugin); ok {
			n.scores[plugin.Name()] = score
		}
	}
	with(nodeunschedulable.New, nil)
	with(tainttoleration.New, nil)
	with(nodeaffinity.New, &config.NodeAffinityArgs{})
	with(nodeports.New, nil)
	with(noderesources.NewFit, &config.NodeResourcesFitArgs{ScoringStrategy: &config.ScoringStrategy{Type: config.LeastAllocated,
		Resources: []config.ResourceSpec{{Name: "cpu", Weight: 1}, {Name: "memory", Weight: 1}}}})
	with(podtopologyspread.New, &config.PodTopologySpreadArgs{DefaultingType: config.ListDefaulting})
	with(interpodaffinity.New, &config.InterPodAffinityArgs{HardPodAffinityWeight: 1})
	return n
}

func (n *native) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// setNamespace takes up the labels of a namespace.
func (n *native) setNamespace(name string, labels map[string]string) {
	n.must(n.namespaces.Core().V1().Namespaces().Informer().GetIndexer().Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}))
}

// ask tells which nodes can take a Pod, and the scores of those, by plugin, where it has something to say.
func (n *native) ask(pod *corev1.Pod, pods []*corev1.Pod, nodes []*corev1.Node) (feasible sets.Set[string], scores map[string]map[string]int64) {
	n.t.Helper()
	n.Snapshot = cache.NewSnapshot(pods, nodes)
	all, err := n.NodeInfos().List()
	n.must(err)
	state := framework.NewCycleState()
	feasible = sets.New[string]()
	for _, node := range all {
		feasible.Insert(node.Node().Name)
	}
	for _, filter := range n.filters {
		if pre, ok := filter.(fwk.PreFilterPlugin); ok {
			some, status := pre.PreFilter(n.t.Context(), state, pod, all)
			if status.IsSkip() {
				continue
			}
			if !status.IsSuccess() {
				return sets.New[string](), nil // it says so of the Pod as a whole
			}
			if !some.AllNodes() {
				feasible = feasible.Intersection(some.NodeNames)
			}
		}
		for _, node := range all {
			if !filter.Filter(n.t.Context(), state, pod, node).IsSuccess() {
				feasible.Delete(node.Node().Name)
			}
		}
	}
	return feasible, n.score(state, pod, all, feasible)
}

func (n *native) score(state fwk.CycleState, pod *corev1.Pod, all []fwk.NodeInfo, feasible sets.Set[string]) map[string]map[string]int64 {
	n.t.Helper()
	out := map[string]map[string]int64{}
	var list []fwk.NodeInfo
	for _, node := range all {
		if feasible.Has(node.Node().Name) {
			list = append(list, node)
		}
	}
	for name, plugin := range n.scores {
		if pre, ok := plugin.(fwk.PreScorePlugin); !ok || !pre.PreScore(n.t.Context(), state, pod, list).IsSuccess() {
			continue
		}
		out[name] = map[string]int64{}
		for _, node := range list {
			score, status := plugin.Score(n.t.Context(), state, pod, node)
			n.must(status.AsError())
			out[name][node.Node().Name] = score
		}
	}
	return out
}

package nodeagent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/fabric"
	"miniplane.dev/miniplane/internal/jitter"
	"miniplane.dev/miniplane/nodeagent/network"
)

const (
	// askEvery is between two rounds of questions to some other nodes, and askSoon while something is being found out or is wrong: a
	// network is as it is for days, and who mends it wants to see it.
	askEvery, askSoon = 30 * time.Second, 10 * time.Second
)

var (
	unreachablePeers = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "miniplane_agent_network_unreachable_peers",
		Help: "Other nodes whose MiniPods are proven not to be reached from here, at most 16, by the way that is lost: routed or encapsulated.",
	}, []string{"way"})
	peerEchoes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "miniplane_agent_network_peer_echoes_total",
		Help: "Rounds in which another node was asked whether packets reach it, by result: answered, silent (while the node itself answers) or unknown.",
	}, []string{"result"})
)

func init() { metrics.Registry.MustRegister(unreachablePeers, peerEchoes) }

// watchFabric asks other nodes in turn whether packets of MiniPods reach them, until ctx ends. It only tells.
func (a *agent) watchFabric(ctx context.Context, net network.Network) error {
	watch := fabric.New(a.opts.NodeName)
	told := ""
	for wait := askSoon; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(jitter.Around(wait)):
		}
		var nodes miniv1.MiniNodeList
		if err := a.cache.List(ctx, &nodes); err != nil {
			continue // who follows the peers tells
		}
		if asked := watch.Next(askable(nodes.Items, net.Ways())); len(asked) > 0 {
			answers, err := net.Echo(ctx, asked)
			if err != nil && ctx.Err() == nil && err.Error() != told {
				told = err.Error()
				a.log.Info("Cannot ask other nodes whether packets reach them", "err", told)
			}
			watch.Hear(answers)
			count(answers)
		}
		verdict := watch.Verdict()
		unreachablePeers.WithLabelValues("routed").Set(float64(verdict.LostBy(false)))
		unreachablePeers.WithLabelValues("encapsulated").Set(float64(verdict.LostBy(true)))
		a.fabric.Store(&fabric.View{Verdict: verdict, AnswersEchoes: net.AnswersEchoes()})
		if wait = askEvery; watch.Busy() {
			wait = askSoon
		}
	}
}

func count(answers map[fabric.Peer]fabric.Answer) {
	for _, answer := range answers {
		result := "unknown"
		switch {
		case answer.Way:
			result = "answered"
		case answer.Node:
			result = "silent"
		}
		peerEchoes.WithLabelValues(result).Inc()
	}
}

// askable are the nodes whose silence would mean something: there is a way to them, their agents are well, and of a version that says
// that the node answers.
func askable(nodes []miniv1.MiniNode, ways []network.Way) []fabric.Peer {
	well := map[string]bool{}
	for i := range nodes {
		node, info := &nodes[i], nodes[i].Status.NodeInfo
		well[node.Name] = node.DeletionTimestamp == nil && info.AnswersEchoes != "" && info.AnswersEchoes == info.AgentVersion &&
			meta.IsStatusConditionTrue(node.Status.Conditions, miniv1.ConditionReady)
	}
	var out []fabric.Peer
	for _, way := range ways {
		if well[way.Name] {
			out = append(out, fabric.Peer{Name: way.Name, NodeIP: way.NodeIP, Address: way.Address, Encapsulated: way.Encapsulated})
		}
	}
	return out
}

package nodeagent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/nodeagent/network"
)

// Who does not answer because nobody is there who would is not asked: else a node that is being installed, or has an agent of
// another version, would be taken for one behind a network that loses packets.
func TestAskable(t *testing.T) {
	way := network.Way{Name: "n1", NodeIP: netip.MustParseAddr("10.0.0.2"), Address: netip.MustParseAddr("100.64.4.1"), Encapsulated: true}
	for _, test := range []struct {
		what   string
		change func(*miniv1.MiniNode)
		want   bool
	}{
		{"well", func(*miniv1.MiniNode) {}, true},
		{"its agent does not speak of it", func(n *miniv1.MiniNode) { n.Status.NodeInfo.AnswersEchoes = "" }, false},
		{"an agent of before, after one that did", func(n *miniv1.MiniNode) { n.Status.NodeInfo.AgentVersion = "v1" }, false},
		{"nothing is known of it", func(n *miniv1.MiniNode) { n.Status = miniv1.MiniNodeStatus{} }, false},
		{"its agent is silent", func(n *miniv1.MiniNode) { n.Status.Conditions[0].Status = metav1.ConditionUnknown }, false},
		{"its agent is not ready", func(n *miniv1.MiniNode) { n.Status.Conditions[0].Status = metav1.ConditionFalse }, false},
		{"it is being deleted", func(n *miniv1.MiniNode) { n.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, false},
		{"there is no way to it", func(n *miniv1.MiniNode) { n.Name = "n2" }, false},
	} {
		t.Run(test.what, func(t *testing.T) {
			node := miniv1.MiniNode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
			node.Status.NodeInfo = miniv1.MiniNodeInfo{AgentVersion: "v2", AnswersEchoes: "v2"}
			node.Status.Conditions = []metav1.Condition{{Type: miniv1.ConditionReady, Status: metav1.ConditionTrue}}
			test.change(&node)
			got := askable([]miniv1.MiniNode{node}, []network.Way{way})
			if (len(got) == 1) != test.want {
				t.Fatalf("asks %v", got)
			}
			if test.want && (got[0].Name != "n1" || got[0].NodeIP != way.NodeIP || got[0].Address != way.Address || !got[0].Encapsulated) {
				t.Error(cmp.Diff(way, got[0]))
			}
		})
	}
}

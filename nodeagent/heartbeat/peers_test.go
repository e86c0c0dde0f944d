package heartbeat

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/fabric"
)

// Packets that get lost are told once, and so is their end; what is not known changes nothing, and nothing is written for it.
func TestPeersUnreachable(t *testing.T) {
	b := newBench(t)
	b.heart.Register, b.heart.VXLANPort = false, 8473
	told := events.NewFakeRecorder(10)
	b.heart.Recorder = told
	var view *fabric.View
	b.heart.Fabric = func() *fabric.View { return view }
	b.heart.tend(t.Context())
	b.giveRange("100.64.0.0/24")
	b.heart.tend(t.Context())
	b.wrote()
	lost := fabric.Verdict{Peers: 2, Routed: 1, Lost: []fabric.Peer{{Name: "n2"}}}
	for _, step := range []struct {
		what    string
		view    *fabric.View
		writes  int
		status  metav1.ConditionStatus // "" where there is none
		answers string
		event   string
	}{
		{"nobody looked", nil, 0, "", "", ""},
		{"nobody to ask", &fabric.View{AnswersEchoes: true}, 1, "", "v1", ""},
		{"undecided", &fabric.View{AnswersEchoes: true, Verdict: fabric.Verdict{Peers: 2, Routed: 1, Suspects: 1}}, 0, "", "v1", ""},
		{"lost", &fabric.View{AnswersEchoes: true, Verdict: lost}, 1, metav1.ConditionTrue, "v1", "Warning RoutedPacketsLost packets without encapsulation to MiniPods of n2"},
		{"still", &fabric.View{AnswersEchoes: true, Verdict: lost}, 0, metav1.ConditionTrue, "v1", ""},
		{"a new agent that knows nothing yet", nil, 0, metav1.ConditionTrue, "v1", ""},
		{"and is not sure", &fabric.View{AnswersEchoes: true, Verdict: fabric.Verdict{Peers: 2, Unknown: 2}}, 0, metav1.ConditionTrue, "v1", ""},
		{"mended", &fabric.View{AnswersEchoes: true, Verdict: fabric.Verdict{Peers: 2, Routed: 2}}, 1, metav1.ConditionFalse, "v1", "Normal PeersAnswer"},
		{"nobody answers", &fabric.View{AnswersEchoes: true, Verdict: fabric.Verdict{Peers: 2}}, 1, metav1.ConditionUnknown, "v1", ""},
		{"all others left", &fabric.View{}, 1, "", "", ""},
	} {
		view = step.view
		b.heart.tend(t.Context())
		if got := b.wrote(); len(got) != step.writes {
			t.Errorf("%s: writes %v, want %d", step.what, got, step.writes)
		}
		node := b.mini()
		status := metav1.ConditionStatus("")
		if c := meta.FindStatusCondition(node.Status.Conditions, miniv1.ConditionPeersUnreachable); c != nil {
			status = c.Status
		}
		if status != step.status || node.Status.NodeInfo.AnswersEchoes != step.answers {
			t.Errorf("%s: condition %q, want %q; answers %q, want %q", step.what, status, step.status, node.Status.NodeInfo.AnswersEchoes, step.answers)
		}
		event := ""
		select {
		case event = <-told.Events:
		default:
		}
		if !strings.HasPrefix(event, step.event) || step.event == "" && event != "" {
			t.Errorf("%s: Event %q, want %q", step.what, event, step.event)
		}
	}
}

package scheduling_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/builders"
)

func TestBindsWithOneWrite(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "2")
	w.start()
	w.create(builders.Pod("", "web").Requests("100m", "16Mi").With(owned).Obj())
	pod := w.untilBound("web")
	want := miniv1.MiniPodStatus{NodeName: "n1", ObservedGeneration: 1, Phase: miniv1.PodPending, Summary: "ContainerCreating", ReadyContainers: "0/1",
		Conditions: []metav1.Condition{{Type: miniv1.ConditionPodScheduled, Status: metav1.ConditionTrue, Reason: miniv1.ReasonScheduled,
			Message: "bound to node n1", ObservedGeneration: 1, LastTransitionTime: pod.Status.Conditions[0].LastTransitionTime}}}
	want.StartTimeline = pod.Status.StartTimeline
	if diff := cmp.Diff(want, pod.Status); diff != "" {
		t.Error(diff)
	}
	if told := pod.Status.StartTimeline; told == nil || told.QueuedTime.Before(&metav1.MicroTime{Time: pod.CreationTimestamp.Time}) || told.ScheduledTime.Before(told.QueuedTime) {
		t.Errorf("it was made at %s; %+v", pod.CreationTimestamp, told)
	}
	w.untilWrote("web", "PATCH web/status")
}

func TestBareMiniPodGetsTheFinalizerFirst(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "2")
	w.start()
	w.create(builders.Pod("", "bare").Obj())
	pod := w.untilBound("bare")
	if diff := cmp.Diff([]string{miniv1.AgentFinalizer}, pod.Finalizers); diff != "" {
		t.Error(diff)
	}
	w.untilWrote("bare", "PATCH bare", "PATCH bare/status")
}

func TestWaitsWithReasonsUntilTheNodeChanges(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "1")
	w.node("n2", "1")
	w.changeNode("n2", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	w.start()
	w.create(builders.Pod("", "first").Requests("900m", "").With(owned).Obj())
	w.untilBound("first")

	w.create(builders.Pod("", "second").Requests("500m", "").With(owned).Obj())
	pod := w.untilWaiting("second", miniv1.ReasonUnschedulable,
		"0/2 nodes are available: 1 node is cordoned, 1 insufficient cpu (asks 500m, free 100m).")
	if pod.Status.Phase != miniv1.PodPending || pod.Status.Summary != "Pending" {
		t.Errorf("phase %q, summary %q", pod.Status.Phase, pod.Status.Summary)
	}
	w.until("one Event FailedScheduling", func() (bool, any) { n := w.events("second"); return len(n) == 1, n })

	w.changeNode("n2", func(n *corev1.Node) { n.Spec.Unschedulable = false })
	if pod := w.untilBound("second"); pod.Status.NodeName != "n2" {
		t.Error("bound to", pod.Status.NodeName)
	}
	w.untilWrote("second", "PATCH second/status", "PATCH second/status")
}

// events lists the reasons of the Events about a MiniPod.
func (w *world) events(name string) []string {
	list := &eventsv1.EventList{}
	w.must(w.c.List(context.Background(), list, client.InNamespace(w.ns)))
	var out []string
	for _, e := range list.Items {
		if e.Regarding.Name == name {
			out = append(out, e.Reason)
		}
	}
	return out
}

// Why a MiniPod waits is told in an Event when its status says so, and not before.
func TestWhatIsNotStoredIsNotTold(t *testing.T) {
	w := newWorld(t)
	w.writes.deny(fmt.Sprintf("/apis/%s/namespaces/%s/minipods/refused/status", miniv1.GroupVersion, w.ns))
	w.start()
	w.create(builders.Pod("", "refused").Requests("1", "").With(owned).Obj())
	w.create(builders.Pod("", "stored").Requests("1", "").With(owned).Obj())
	told := func(name string) {
		t.Helper()
		w.until("an Event about "+name, func() (bool, any) { return slices.Contains(w.events(name), "FailedScheduling"), w.events(name) })
	}
	told("stored")
	if events := w.events("refused"); len(events) > 0 {
		t.Errorf("told, and not stored: %v", events)
	}
	w.writes.deny("")
	told("refused")
}

func TestWakesForANewNodeATaintAndARelease(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(builders.Pod("", "a").Requests("1", "").With(owned).Obj())
	w.untilWaiting("a", miniv1.ReasonUnschedulable, "0/0 nodes are available: no node has an agent yet.")
	w.node("n1", "1")
	w.untilBound("a")

	w.create(builders.Pod("", "b").Requests("1", "").With(owned).Obj())
	w.untilWaiting("b", miniv1.ReasonUnschedulable, "0/1 nodes are available: 1 insufficient cpu (asks 1, free 0).")
	w.agentEnds("a")
	w.untilBound("b")
	w.agentEnds("b")

	w.changeNode("n1", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}}
	})
	w.create(builders.Pod("", "tolerant").With(owned).With(func(p *miniv1.MiniPod) {
		p.Spec.Tolerations = []miniv1.Toleration{{Key: "k", Operator: corev1.TolerationOpEqual, Value: "v"}}
	}).Obj())
	w.untilBound("tolerant")
	w.create(builders.Pod("", "c").With(owned).Obj())
	w.untilWaiting("c", miniv1.ReasonUnschedulable, "0/1 nodes are available: 1 node is tainted k=v:NoSchedule without a toleration.")
	w.changeNode("n1", func(n *corev1.Node) { n.Spec.Taints = nil })
	w.untilBound("c")
}

func TestFinishedMiniPodsReleaseTheirRoom(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "1")
	w.start()
	w.create(builders.Pod("", "job").Requests("1", "").With(owned).Obj())
	pod := w.untilBound("job")
	w.create(builders.Pod("", "next").Requests("1", "").With(owned).Obj())
	w.untilWaiting("next", miniv1.ReasonUnschedulable, "0/1 nodes are available: 1 insufficient cpu (asks 1, free 0).")
	before := pod.DeepCopy()
	pod.Status.Phase = miniv1.PodSucceeded
	w.must(w.c.Status().Patch(t.Context(), pod, client.MergeFrom(before)))
	w.untilBound("next")
}

func TestQuotaAdmitsExactlyAsManyAsFit(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "64")
	quota := w.quota("team", "cpu", "1")
	w.start()
	for i := range 10 {
		go func() { // racing
			pod := builders.Pod(w.ns, fmt.Sprintf("p%d", i)).Requests("200m", "").With(owned).Obj()
			pod.UID = ""
			if err := w.c.Create(context.Background(), pod); err != nil {
				t.Error(err)
			}
		}()
	}
	exactly := func(wantBound, wantWaiting int) {
		t.Helper()
		w.until(fmt.Sprintf("%d bound, %d waiting", wantBound, wantWaiting), func() (bool, any) {
			bound, waiting := w.counts()
			if bound > wantBound {
				t.Fatalf("%d bound, beyond the quota", bound)
			}
			return bound == wantBound && waiting == wantWaiting, []int{bound, waiting}
		})
	}
	exactly(5, 5)
	var name string
	pods := &miniv1.MiniPodList{}
	w.must(w.c.List(t.Context(), pods, client.InNamespace(w.ns)))
	for i := range pods.Items {
		if pod := &pods.Items[i]; pod.Status.NodeName != "" {
			name = pod.Name
		} else if got, want := scheduled(pod), `False QuotaExceeded: quota "team" exceeded: cpu asks 200m, used 1 of 1`; got != want {
			t.Errorf("%s: %s", pod.Name, got)
		}
	}
	w.agentEnds(name) // one more starts
	exactly(5, 4)
	before := quota.DeepCopy()
	quota.Spec.Hard["cpu"] = resource.MustParse("1500m")
	w.must(w.c.Patch(t.Context(), quota, client.MergeFrom(before)))
	exactly(7, 2)
	w.must(w.c.Delete(t.Context(), quota))
	exactly(9, 0)
}

func TestRestartRemembersWhatIsCharged(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "1")
	w.quota("team", "memory", "110Mi")
	w.start()
	w.create(builders.Pod("", "a").Requests("600m", "60Mi").With(owned).Obj())
	w.untilBound("a")
	w.create(builders.Pod("", "b").Requests("600m", "40Mi").With(owned).Obj())
	w.untilWaiting("b", miniv1.ReasonUnschedulable, "0/1 nodes are available: 1 insufficient cpu (asks 600m, free 400m).")
	w.stop()

	w.create(builders.Pod("", "c").Requests("100m", "111Mi").With(owned).Obj()) // can never fit
	w.start()
	w.untilWaiting("c", miniv1.ReasonQuotaExceeded, `quota "team" exceeded: memory asks 111Mi, used 60Mi of 110Mi`)
	w.create(builders.Pod("", "d").Requests("400m", "1Mi").With(owned).Obj())
	w.untilBound("d")
	w.untilWrote("b", "PATCH b/status")
	w.agentEnds("a")
	w.untilBound("b")
}

func TestDeletedBeforeItWasBound(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(builders.Pod("", "mine").With(owned).Obj())
	pod := w.untilWaiting("mine", miniv1.ReasonUnschedulable, "0/0 nodes are available: no node has an agent yet.")
	w.must(w.c.Delete(t.Context(), pod))
	w.until("it is gone", func() (bool, any) { pod, found := w.get("mine"); return !found, pod.Finalizers })

	// Its name is free for another, which is another.
	w.create(builders.Pod("", "mine").With(owned).Obj())
	w.node("n1", "1")
	if again := w.untilBound("mine"); again.UID == pod.UID {
		t.Error("the same MiniPod")
	}
}

func TestLostAnswerDoesNotChargeTwice(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "1")
	lost := 0
	w.writes.losing(func(req *http.Request) error {
		if strings.HasSuffix(req.URL.Path, "/a/status") && lost < 2 {
			lost++
			return errors.New("connection reset by peer")
		}
		return nil
	})
	w.start()
	w.create(builders.Pod("", "a").Requests("600m", "").With(owned).Obj())
	w.create(builders.Pod("", "b").Requests("600m", "").With(owned).Obj())
	w.until("one bound, one waiting", func() (bool, any) {
		a, _ := w.get("a")
		b, _ := w.get("b")
		if a.Status.NodeName != "" && b.Status.NodeName != "" {
			t.Fatal("both bound to a node with room for one")
		}
		return a.Status.NodeName != "" && scheduled(b) == "False Unschedulable: 0/1 nodes are available: 1 insufficient cpu (asks 600m, free 400m).",
			[]string{scheduled(a), scheduled(b)}
	})
	if lost == 0 {
		t.Error("no answer was lost")
	}
}

func TestBindingWrittenByAnother(t *testing.T) {
	w := newWorld(t)
	w.node("n1", "1")
	w.start()
	pod := builders.Pod("", "elsewhere").Requests("1", "").With(owned).With(func(p *miniv1.MiniPod) { p.Spec.NodeName = "n2" }).Obj()
	pod = w.create(pod)
	w.untilWaiting("elsewhere", miniv1.ReasonUnschedulable, "0/1 nodes are available: 1 node is not the one asked for, n2.")
	w.until("written by hand", func() (bool, any) {
		pod, _ = w.get("elsewhere")
		pod.Status.NodeName = "n1"
		err := w.c.Status().Update(t.Context(), pod)
		return err == nil, err
	})
	w.create(builders.Pod("", "late").Requests("1", "").With(owned).Obj())
	w.untilWaiting("late", miniv1.ReasonUnschedulable, "0/1 nodes are available: 1 insufficient cpu (asks 1, free 0).")
}

func TestSpreadsAndKeepsWithinTheNodes(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.node(fmt.Sprintf("n%d", i), "1")
	}
	w.start()
	start := time.Now()
	const pods = 42 // 40 fit
	for i := range pods {
		w.create(builders.Pod("", fmt.Sprintf("p%d", i)).Labels(map[string]string{"app": "web"}).Requests("100m", "").With(owned).Obj())
	}
	perNode, waiting := map[string]int{}, 0
	w.until("every MiniPod bound or told why not", func() (bool, any) {
		clear(perNode)
		waiting = 0
		list := &miniv1.MiniPodList{}
		w.must(w.c.List(t.Context(), list, client.InNamespace(w.ns)))
		undecided := pods - len(list.Items)
		for i := range list.Items {
			if node := list.Items[i].Status.NodeName; node != "" {
				perNode[node]++
			} else if strings.HasPrefix(scheduled(&list.Items[i]), "False") {
				waiting++
			} else {
				undecided++ // a binding may be written after the refusal of a later MiniPod
			}
		}
		return undecided == 0, perNode
	})
	if diff := cmp.Diff(map[string]int{"n0": 10, "n1": 10, "n2": 10, "n3": 10}, perNode); diff != "" {
		t.Error(diff)
	}
	if waiting != 2 {
		t.Errorf("%d MiniPods wait, want 2", waiting)
	}
	t.Logf("%d MiniPods created and decided in %s", pods, time.Since(start))
}

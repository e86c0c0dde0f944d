package podcontrol_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/index"
	"miniplane.dev/miniplane/internal/podcontrol"
	"miniplane.dev/miniplane/test/builders"
)

var owner = &miniv1.MiniReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "web"}}

func control(c client.Client) *podcontrol.Control {
	return podcontrol.New(c, c, miniv1.GroupVersion.WithKind("MiniReplicaSet"), time.Now)
}

func TestNames(t *testing.T) {
	names := podcontrol.NamesBeside([]*miniv1.MiniPod{builders.Pod("ns", "web-aaaaa").Obj()})
	given := map[string]bool{}
	for range 1000 {
		name := names.Next("web")
		if given[name] || name == "web-aaaaa" || !strings.HasPrefix(name, "web-") || len(name) != len("web-")+5 {
			t.Fatalf("name %q", name)
		}
		given[name] = true
	}
	if name := names.NextOf(strings.Repeat("n", 80), "-12345"); len(name) != 63 || !strings.Contains(name, "n-12345-") {
		t.Errorf("%q", name)
	}
	if name := names.Next(strings.Repeat("n", 80)); len(name) != 63 {
		t.Errorf("%q has %d letters", name, len(name))
	}
}

// No pass reads a namespace as a whole: every list asks an index, first for what belongs to nobody.
func TestObserveAsksTheIndex(t *testing.T) {
	adopted := builders.Pod("ns", "adopted").Obj()
	orphan := builders.Pod("ns", "orphan").Obj()
	lists := &lists{answers: map[string][]*miniv1.MiniPod{index.Nobody: {adopted, orphan}, "web": {adopted}}}
	observed, err := control(lists).Observe(t.Context(), owner, labels.Everything())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", "web"}, lists.asked); diff != "" {
		t.Errorf("asked for the owners (-want,+got):\n%s", diff)
	}
	if len(observed.Owned) != 1 || observed.Owned[0].Name != "adopted" || len(observed.Orphans) != 1 || observed.Orphans[0].Name != "orphan" {
		t.Errorf("adopted between the lists: %+v", observed)
	}
}

// lists answers by owner, and notes whom it was asked for.
type lists struct {
	client.Client
	answers map[string][]*miniv1.MiniPod
	asked   []string
}

func (l *lists) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var all client.ListOptions
	all.ApplyOptions(opts)
	if all.FieldSelector == nil || all.Namespace != "ns" {
		return errors.New("reads more than what concerns an owner")
	}
	who := all.FieldSelector.Requirements()[0].Value
	l.asked = append(l.asked, who)
	for _, pod := range l.answers[who] {
		pods := list.(*miniv1.MiniPodList)
		pods.Items = append(pods.Items, *pod)
	}
	return nil
}

func TestInParallel(t *testing.T) {
	pods := make([]*miniv1.MiniPod, 200)
	for i := range pods {
		pods[i] = builders.Pod("ns", "p").With(func(p *miniv1.MiniPod) { p.Generation = int64(i) }).Obj()
	}
	refused, done := errors.New("refused"), 0
	err := podcontrol.InParallel(pods, func(pod *miniv1.MiniPod) error {
		if pod.Generation%2 == 0 {
			return refused
		}
		return nil
	}, func(*miniv1.MiniPod) { done++ })
	if !errors.Is(err, refused) || done != 100 {
		t.Errorf("%d done, %v", done, err)
	}
}

func TestMiniPod(t *testing.T) {
	template := &miniv1.MiniPodTemplateSpec{Metadata: miniv1.TemplateMeta{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"a": "b"}}}
	pod := control(nil).MiniPod(owner, "web-1", template)
	if pod.Name != "web-1" || pod.Namespace != "ns" || !metav1.IsControlledBy(pod, owner) || !slices.Equal(pod.Finalizers, []string{miniv1.AgentFinalizer}) {
		t.Errorf("%+v", pod.ObjectMeta)
	}
	pod.Labels["app"] = "other"
	if template.Metadata.Labels["app"] != "web" {
		t.Error("the template's labels were given away")
	}
	if ref := pod.OwnerReferences[0]; ref.Kind != "MiniReplicaSet" || ref.UID != types.UID("web") || !*ref.BlockOwnerDeletion {
		t.Errorf("owner %+v", ref)
	}
}

// The selector of an owner is understood once, and not with every event of a MiniPod that belongs to nobody; another owner of the same name has its own.
func TestSelectorsAreUnderstoodOnce(t *testing.T) {
	web := &miniv1.MiniReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "1"}}
	selection := podcontrol.SelectionOf(web, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}})
	c := control(nil)
	events := c.Events(podcontrol.Interest{Selections: func(context.Context, string) ([]podcontrol.Selection, error) {
		return []podcontrol.Selection{selection}, nil
	}})
	wakes := func() int {
		q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
		defer q.ShutDown()
		events.Create(t.Context(), event.CreateEvent{Object: builders.Pod("ns", "p").Labels(map[string]string{"app": "web"}).Obj()}, q)
		return q.Len()
	}
	if n := wakes(); n != 1 {
		t.Errorf("%d are woken", n)
	}
	selection.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "no such"}}}
	if n := wakes(); n != 1 {
		t.Errorf("it was understood again")
	}
	for name, change := range map[string]func(){"another": func() { selection.UID = "2" }, "forgotten": func() { c.Forget(selection.Owner) }} {
		change()
		if n := wakes(); n != 0 {
			t.Errorf("%s: %d are woken", name, n)
		}
	}
}

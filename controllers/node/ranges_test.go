package node_test

import (
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/test/testenv"
)

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

// rangeOf is the range that a MiniNode has; "" for none.
func (w world) rangeOf(name string) string {
	var now miniv1.MiniNode
	_ = w.Get(w.Context(), client.ObjectKey{Name: name}, &now)
	return now.Status.PodCIDR
}

// given waits until a node has a range.
func (w world) given(name string) string {
	w.Helper()
	testenv.Eventually(w.T, func() string {
		if w.rangeOf(name) == "" {
			return name + " has no range"
		}
		return ""
	})
	return w.rangeOf(name)
}

func (w world) writeRange(name, podCIDR string) {
	w.Helper()
	node := &miniv1.MiniNode{}
	node.Name = name
	w.must(w.Status().Patch(w.Context(), node, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"podCIDR":"`+podCIDR+`"}}`))))
}

// A MiniNode that claims addresses of another's range loses them, whatever its name, and gets a range of its own.
func TestStolenRange(t *testing.T) {
	w := newWorld(t)
	stop := w.manager()
	w.node("victim")
	victim := netip.MustParsePrefix(w.given("victim"))
	stop()
	var old, thief miniv1.MiniNode
	w.must(w.Get(t.Context(), client.ObjectKey{Name: "victim"}, &old))
	testenv.Eventually(t, func() string { // times of creation are whole seconds
		thief = miniv1.MiniNode{ObjectMeta: named("a-thief")}
		_ = w.Delete(t.Context(), thief.DeepCopy())
		w.must(w.Create(t.Context(), &thief))
		if !thief.CreationTimestamp.After(old.CreationTimestamp.Time) {
			return "the thief is not younger"
		}
		return ""
	})
	w.writeRange("a-thief", netip.PrefixFrom(victim.Addr().Next(), 32).String())
	w.manager()
	testenv.Eventually(t, func() string {
		now := w.rangeOf("a-thief")
		if own, err := netip.ParsePrefix(now); err != nil || own.Overlaps(victim) {
			return "the thief has " + now + " of the victim's " + victim.String()
		}
		return ""
	})
	if got := w.rangeOf("victim"); got != victim.String() {
		t.Errorf("the victim's range is %q, it was %q", got, victim)
	}
}

// A MiniNode that is deleted and made again has the range of its MiniPods, also from a manager that did not see it go.
func TestRangeComesBack(t *testing.T) {
	w := newWorld(t)
	stop := w.manager()
	w.node("first")
	w.given("first")
	w.node("second")
	second := w.given("second")
	again := func() string {
		w.must(w.Create(t.Context(), &miniv1.MiniNode{ObjectMeta: named("second")}))
		return w.given("second")
	}
	w.must(w.Delete(t.Context(), &miniv1.MiniNode{ObjectMeta: named("second")}))
	w.must(w.Create(t.Context(), &miniv1.MiniNode{ObjectMeta: named("third")}))
	w.given("third")
	if got := again(); got != second {
		t.Errorf("%s came back as %s", second, got)
	}
	pod := w.pod("p", "second")
	w.must(w.Status().Patch(t.Context(), pod, client.RawPatch("application/merge-patch+json",
		[]byte(`{"status":{"podIP":"`+netip.MustParsePrefix(second).Addr().Next().Next().String()+`"}}`))))
	stop()
	w.must(w.Delete(t.Context(), &miniv1.MiniNode{ObjectMeta: named("second")}))
	w.manager()
	if got := again(); got != second {
		t.Errorf("after a restart %s came back as %s", second, got)
	}
}

package eviction_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/controllers/eviction"
	"miniplane.dev/miniplane/test/testenv"
)

func (w world) markerUID() types.UID {
	w.Helper()
	var marker corev1.Pod
	w.must(w.Get(w.Context(), markerKey, &marker))
	return marker.UID
}

// What kubectl drain waits for stays until the last MiniPod has gone, and comes back with the node.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	one, two := w.pod("one"), w.pod("two")
	done := w.pod("done", bare)
	w.must(w.Status().Patch(t.Context(), done, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"Succeeded"}}`))))
	w.cordon(true)
	w.settled()
	w.podIs(one, "runs")

	first := w.evict().UID
	w.podIs(one, "deleting DeletionByDrain")
	w.podIs(two, "deleting DeletionByDrain")
	w.podIs(done, "deleting DeletionByDrain")
	w.letGo(one, done)
	w.podIs(one, "gone")
	w.settled()
	w.markerIs("is held")
	w.letGo(two)
	w.markerIs("none")
	w.settled()
	w.markerIs("none")

	w.cordon(false)
	w.markerIs("stands")
	if w.markerUID() == first {
		t.Error("the marker of the uncordoned node is the old one")
	}
}

// A MiniPod that only another's finalizer keeps, after its agent let go of it, keeps nobody waiting.
func TestDrainPassesByOthersFinalizers(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	pod := w.pod("kept", func(pod *miniv1.MiniPod) { pod.Finalizers = append(pod.Finalizers, "example.com/other") })
	w.cordon(true)
	w.evict()
	w.podIs(pod, "deleting DeletionByDrain")
	w.settled()
	w.markerIs("is held")
	w.must(w.Patch(t.Context(), pod, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":["example.com/other"]}}`))))
	w.markerIs("none")
	w.podIs(pod, "deleting DeletionByDrain")
	w.letGo(pod)
	w.podIs(pod, "gone")
}

func TestMarkerDeletedWithoutADrain(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	pod := w.pod("one")
	first := w.evict().UID
	testenv.Eventually(t, func() string {
		if w.marker() == "stands" && w.markerUID() != first {
			return ""
		}
		return "no new marker"
	})
	w.podIs(pod, "runs")
}

// A MiniPod that nothing would replace holds the drain up, and everybody is told what to do.
func TestDrainWaitsForBareMiniPods(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	alone, owned := w.pod("alone", bare), w.pod("owned")
	w.cordon(true)
	w.evict()
	w.podIs(owned, "deleting DeletionByDrain")
	w.letGo(owned)
	testenv.Eventually(t, func() string { return w.missingEvents("DrainBlocked", "Pod", "Node", "MiniPod") })
	w.settled()
	w.podIs(alone, "runs")
	w.markerIs("is held")
	w.must(w.Delete(t.Context(), alone))
	w.letGo(alone)
	w.markerIs("none")
}

// missingEvents names the kinds of which nothing with the reason was told.
func (w world) missingEvents(reason string, kinds ...string) string {
	var list eventsv1.EventList
	w.must(w.List(w.Context(), &list))
	told := map[string]string{}
	for _, e := range list.Items {
		if e.Reason == reason && strings.Contains(e.Note, "uncordon") {
			told[e.Regarding.Kind] = e.Note
		}
	}
	var missing []string
	for _, kind := range kinds {
		if told[kind] == "" {
			missing = append(missing, kind)
		}
	}
	if missing == nil {
		return ""
	}
	return fmt.Sprintf("nothing told about %v; told: %v", missing, told)
}

func TestUncordonEndsTheDrain(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	alone := w.pod("alone", bare)
	w.cordon(true)
	first := w.evict().UID
	w.settled()
	w.markerIs("is held")
	w.cordon(false)
	testenv.Eventually(t, func() string {
		if w.marker() == "stands" && w.markerUID() != first {
			return ""
		}
		return "the marker is " + w.marker()
	})
	w.podIs(alone, "runs")
}

// A manager that is replaced goes on where the one before it stopped.
func TestManagerRestartsDuringADrain(t *testing.T) {
	w := newWorld(t)
	stop := w.manager(eviction.Options{})
	w.markerIs("stands")
	stop()
	pod := w.pod("one")
	w.cordon(true)
	w.evict()
	w.manager(eviction.Options{})
	w.podIs(pod, "deleting DeletionByDrain")
	w.markerIs("is held")
	w.letGo(pod)
	w.markerIs("none")
}

// Where miniplane is uninstalled no marker holds anything up, not even in the middle of a drain.
func TestGuardLifted(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	w.guard(false)
	w.markerIs("none")
	w.guard(true)
	w.markerIs("stands")
	alone := w.pod("alone", bare)
	w.cordon(true)
	w.evict()
	w.settled()
	w.markerIs("is held")
	w.guard(false)
	w.markerIs("none")
	w.podIs(alone, "runs")

	w.guard(true)
	w.cordon(false)
	w.markerIs("stands")
	w.must(w.Delete(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: miniv1.UninstallGuard}}))
	w.markerIs("none")
}

func TestNoMarkers(t *testing.T) {
	w := newWorld(t)
	stop := w.manager(eviction.Options{})
	w.markerIs("stands")
	stop()
	w.manager(eviction.Options{NoMarkers: true})
	w.markerIs("none")
}

func TestNodeGone(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	alone := w.pod("alone", bare)
	w.cordon(true)
	w.evict()
	w.settled()
	w.must(w.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}))
	w.markerIs("none")
	w.podIs(alone, "runs")
}

func TestNoExecute(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	tolerating := func(seconds *int64) func(*miniv1.MiniPod) {
		return func(pod *miniv1.MiniPod) {
			pod.Spec.Tolerations = []miniv1.Toleration{{Key: "team", Operator: corev1.TolerationOpExists,
				Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}}
		}
	}
	plain, alone, forever := w.pod("plain"), w.pod("alone", bare), w.pod("forever", tolerating(nil))
	brief, hour := w.pod("brief", tolerating(new(int64(2)))), w.pod("hour", tolerating(new(int64(3600))))

	w.taint("node.kubernetes.io/unreachable") // the kubelet's trouble is none of ours
	w.settled()
	w.podIs(plain, "runs")

	before := time.Now()
	w.taint("team")
	w.podIs(plain, "deleting DeletionByTaintManager")
	w.podIs(alone, "deleting DeletionByTaintManager")
	w.podIs(brief, "deleting DeletionByTaintManager")
	if took := time.Since(before); took < 2*time.Second {
		t.Errorf("what tolerates the taint for 2 s was deleted after %v", took)
	}
	w.podIs(forever, "runs")
	w.podIs(hour, "runs")
	late := w.pod("late") // bound just before the scheduler learned of the taint
	w.podIs(late, "deleting DeletionByTaintManager")
}

// A taint that goes in time leaves everything as it was.
func TestNoExecuteTakenBack(t *testing.T) {
	w := newWorld(t)
	w.manager(eviction.Options{})
	w.markerIs("stands")
	pod := w.pod("one", func(pod *miniv1.MiniPod) {
		pod.Spec.Tolerations = []miniv1.Toleration{{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(2))}}
	})
	w.taint("team")
	w.settled()
	w.taint("")
	testenv.Never(t, 3*time.Second, func() string { return differs("the MiniPod", w.state(pod), "runs") })
}

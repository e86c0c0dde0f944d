package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/podstate"
)

func getDeployment(t *testing.T, ns, name string) *miniv1.MiniDeployment {
	t.Helper()
	d := &miniv1.MiniDeployment{}
	if err := api.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: name}, d); err != nil {
		t.Fatal(err)
	}
	return d
}

// waitRolledOut waits until every replica has the current template and is available, and the conditions say so.
func waitRolledOut(t *testing.T, ns, name string) {
	t.Helper()
	eventually(t, 2*patience, ns, &miniv1.MiniDeploymentList{}, name+" to be rolled out", func() (bool, string) {
		d := getDeployment(t, ns, name)
		s, progressing := d.Status, meta.FindStatusCondition(d.Status.Conditions, miniv1.ConditionProgressing)
		return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == *d.Spec.Replicas && s.Replicas == *d.Spec.Replicas &&
			s.AvailableReplicas == *d.Spec.Replicas && meta.IsStatusConditionTrue(s.Conditions, miniv1.ConditionReady) &&
			progressing != nil && progressing.Reason == miniv1.ReasonNewReplicaSetAvailable, fmt.Sprintf("%+v", s)
	})
}

// images lists the images that the MiniPods run.
func images(t *testing.T, ns string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, pod := range pods(t, ns) {
		found[pod.Spec.Containers[0].Image]++
	}
	return found
}

// spread follows every MiniPod by a watch, and keeps the smallest number that was ready and the largest that existed.
type spread struct{ minReady, maxActive int }

func observe(ctx context.Context, t *testing.T, ns string) func() spread {
	t.Helper()
	list := &miniv1.MiniPodList{}
	if err := api.List(ctx, list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	// The API server ends the watch of a client that lags; this one goes on from the last event it saw.
	events, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (apiwatch.Interface, error) {
			return api.Watch(ctx, &miniv1.MiniPodList{}, &client.ListOptions{Namespace: ns, Raw: &opts})
		}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[types.UID]*miniv1.MiniPod{}
	for i := range list.Items {
		seen[list.Items[i].UID] = &list.Items[i]
	}
	result, finished := spread{minReady: ready(list.Items)}, make(chan struct{})
	go func() {
		defer close(finished)
		for event := range events.ResultChan() {
			pod, ok := event.Object.(*miniv1.MiniPod)
			if !ok {
				continue
			}
			if seen[pod.UID] = pod; event.Type == apiwatch.Deleted {
				delete(seen, pod.UID)
			}
			nReady, nActive := 0, 0
			for _, p := range seen {
				if podstate.IsActive(p) {
					nActive++
					if podstate.IsReady(p) {
						nReady++
					}
				}
			}
			result.minReady, result.maxActive = min(result.minReady, nReady), max(result.maxActive, nActive)
		}
	}()
	return func() spread { events.Stop(); <-finished; return result }
}

func TestScaleUpAndDown(t *testing.T) {
	long(t)
	ns := namespace(t)
	apply(t, ns, deployment("web", 2, imageV1))
	waitReady(t, ns, 2, patience)
	kubectl(t, ns, "scale", "mdeploy/web", "--replicas=20")
	waitReady(t, ns, 20, patience)
	waitRolledOut(t, ns, "web")
	kubectl(t, ns, "scale", "mdeploy/web", "--replicas=2")
	waitReady(t, ns, 2, patience)
	waitRolledOut(t, ns, "web")
	if got := getDeployment(t, ns, "web").Status.ReadySummary; got != "2/2" {
		t.Errorf("READY shows %q, want 2/2", got)
	}
}

// An image change rolls within its bounds, a pause holds it, and a rollback brings an earlier revision back.
func TestRollout(t *testing.T) {
	ns := namespace(t)
	manifest := deployment("web", 6, imageV1)
	bounds := "  strategy: {rollingUpdate: {maxSurge: 2, maxUnavailable: 1}}\n  template:"
	apply(t, ns, strings.Replace(manifest, "  template:", bounds, 1))
	waitReady(t, ns, 6, patience)
	waitRolledOut(t, ns, "web")

	stop := observe(t.Context(), t, ns)
	setImage(t, ns, imageV2)
	waitRolledOut(t, ns, "web")
	if s := stop(); s.minReady < 5 || s.maxActive > 8 {
		t.Errorf("during the rollout %d were ready at least and %d active at most, want 5 and 8", s.minReady, s.maxActive)
	}
	waitReady(t, ns, 6, patience)
	if got := images(t, ns); got[imageV2] != 6 {
		t.Errorf("images after the rollout: %v", got)
	}

	patch(t, ns, `{"spec":{"paused":true}}`)
	setImage(t, ns, imageV1)
	eventually(t, patience, ns, &miniv1.MiniDeploymentList{}, "the pause to be seen", func() (bool, string) {
		d := getDeployment(t, ns, "web")
		progressing := meta.FindStatusCondition(d.Status.Conditions, miniv1.ConditionProgressing)
		return d.Status.ObservedGeneration == d.Generation && progressing != nil && progressing.Reason == miniv1.ReasonDeploymentPaused, fmt.Sprint(progressing)
	})
	kubectl(t, ns, "scale", "mdeploy/web", "--replicas=7")
	waitReady(t, ns, 7, patience)
	if got := images(t, ns); got[imageV1] != 0 {
		t.Errorf("a paused MiniDeployment rolled out: %v", got)
	}
	patch(t, ns, `{"spec":{"paused":false}}`)
	waitRolledOut(t, ns, "web")
	if got := images(t, ns); got[imageV1] != 7 {
		t.Errorf("images after the resumption: %v", got)
	}

	revision := revisionOf(t, ns, imageV2)
	patch(t, ns, fmt.Sprintf(`{"spec":{"rollbackTo":{"revision":%d}}}`, revision))
	eventually(t, 2*patience, ns, &miniv1.MiniPodList{}, "the rollback", func() (bool, string) {
		got := images(t, ns)
		return got[imageV2] == 7 && len(got) == 1, fmt.Sprint(got)
	})
	waitRolledOut(t, ns, "web")
}

func TestRecreate(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	manifest := strings.Replace(deployment("web", 3, imageV1), "  template:", "  strategy: {type: Recreate}\n  template:", 1)
	apply(t, ns, manifest)
	waitRolledOut(t, ns, "web")
	setImage(t, ns, imageV2)
	eventually(t, patience, ns, &miniv1.MiniPodList{}, "only new MiniPods", func() (bool, string) {
		got := images(t, ns)
		if got[imageV1] > 0 && got[imageV2] > 0 {
			t.Errorf("old and new MiniPods side by side: %v", got)
		}
		return got[imageV2] == 3 && got[imageV1] == 0, fmt.Sprint(got)
	})
	waitRolledOut(t, ns, "web")
}

func setImage(t *testing.T, ns, image string) {
	t.Helper()
	kubectl(t, ns, "patch", "mdeploy", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"`+image+`"}]`)
}

func patch(t *testing.T, ns, body string) {
	t.Helper()
	kubectl(t, ns, "patch", "mdeploy", "web", "--type=merge", "-p", body)
}

// revisionOf is the revision number of the MiniReplicaSet with that image.
func revisionOf(t *testing.T, ns, image string) int {
	t.Helper()
	var sets miniv1.MiniReplicaSetList
	if err := api.List(t.Context(), &sets, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for _, set := range sets.Items {
		if set.Spec.Template.Spec.Containers[0].Image == image {
			n, err := strconv.Atoi(set.Annotations[miniv1.RevisionAnnotation])
			if err != nil {
				t.Fatalf("revision of %s: %v", set.Name, err)
			}
			return n
		}
	}
	t.Fatalf("no MiniReplicaSet has image %s", image)
	return 0
}

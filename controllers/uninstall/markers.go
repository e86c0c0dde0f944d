package uninstall

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// looksWithout is how many looks must show no drain marker. The manager learns that the guard is lifted a moment after us, and
// may have been about to make one.
const looksWithout = 3

// releaseMarkers deletes the drain markers, whose finalizer would hold the namespace up. The manager does the same; it may
// not run.
func releaseMarkers(ctx context.Context, c client.Client) error {
	without, last := 0, errors.New("none was seen")
	err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		var markers corev1.PodList
		if last = c.List(ctx, &markers, client.InNamespace(miniv1.SystemNamespace), client.MatchingLabels{miniv1.DrainMarkerLabel: "true"}); last != nil {
			return false, ignoreTransient(last)
		}
		if without++; len(markers.Items) > 0 {
			without = 0
		}
		for i := range markers.Items {
			if last = releaseMarker(ctx, c, &markers.Items[i]); last != nil {
				return false, ignoreTransient(last)
			}
		}
		return without == looksWithout, nil
	})
	if err != nil {
		return fmt.Errorf("the guard is lifted, but drain markers may be left (kubectl -n %s get pods -l %s): %w; uninstall again",
			miniv1.SystemNamespace, miniv1.DrainMarkerLabel, errors.Join(err, last))
	}
	return nil
}

func releaseMarker(ctx context.Context, c client.Client, marker *corev1.Pod) error {
	before := marker.DeepCopy()
	marker.Finalizers = slices.DeleteFunc(marker.Finalizers, func(f string) bool { return f == miniv1.DrainFinalizer })
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := c.Patch(ctx, marker, patch); err != nil {
		return client.IgnoreNotFound(err)
	}
	return client.IgnoreNotFound(c.Delete(ctx, marker, client.GracePeriodSeconds(0)))
}

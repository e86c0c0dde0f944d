package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

const countPrefix = "count/"

// miniResources may be written in count keys without their group.
var miniResources = sets.New("minipods", "minireplicasets", "minideployments", "minidaemonsets", "minijobs", "minicronjobs",
	"miniservices", "miniquotas")

// NativeKey is what the native ResourceQuota calls an object count: "count/minipods" becomes "count/minipods.miniplane.dev",
// others are as they are. ok is false for keys that do not count objects.
func NativeKey(key corev1.ResourceName) (native corev1.ResourceName, ok bool) {
	kind, ok := strings.CutPrefix(string(key), countPrefix)
	if !ok || kind == "" {
		return "", false
	}
	if miniResources.Has(kind) {
		return corev1.ResourceName(countPrefix + kind + "." + miniv1.GroupVersion.Group), true
	}
	return key, true
}

// nativePods is what the native ResourceQuota calls the number of MiniPods.
const nativePods = corev1.ResourceName(countPrefix + "minipods.miniplane.dev")

// NativeHard is the hard list of the native ResourceQuota that enforces the object counts; empty when there are none.
// Of two names for one count the smaller bound holds. Uncharged is how many MiniPods are there and do not count.
func NativeHard(hard corev1.ResourceList, uncharged int64) corev1.ResourceList {
	out := corev1.ResourceList{}
	for key, q := range hard {
		native, ok := NativeKey(key)
		if !ok {
			continue
		}
		if other, twice := out[native]; !twice || q.Cmp(other) < 0 {
			out[native] = q
		}
	}
	if q, bounded := out[nativePods]; bounded && uncharged > 0 {
		q = q.DeepCopy()
		q.Add(*resource.NewQuantity(uncharged, resource.DecimalSI))
		out[nativePods] = q
	}
	return out
}

// Uncounted are the keys of our own kinds that a native ResourceQuota bounds without knowing how many there are, each with
// the name of its resource, such as "minipods".
func Uncounted(native *corev1.ResourceQuota) map[corev1.ResourceName]string {
	out := map[corev1.ResourceName]string{}
	for key := range native.Spec.Hard {
		name, ours := strings.CutSuffix(strings.TrimPrefix(string(key), countPrefix), "."+miniv1.GroupVersion.Group)
		_, bounded := native.Status.Hard[key]
		if _, known := native.Status.Used[key]; ours && (!bounded || !known) {
			out[key] = name
		}
	}
	return out
}

// CountsUsed is what status.used says for the object counts, from the used list of the native ResourceQuota. What that
// does not know yet is left out, and so are the MiniPods that do not count.
func CountsUsed(hard, nativeUsed corev1.ResourceList, uncharged int64) corev1.ResourceList {
	out := corev1.ResourceList{}
	for key := range hard {
		native, ok := NativeKey(key)
		if !ok {
			continue
		}
		q, known := nativeUsed[native]
		if !known {
			continue
		}
		if native == nativePods && uncharged > 0 {
			q = *resource.NewQuantity(max(0, q.Value()-uncharged), resource.DecimalSI)
		}
		out[key] = q
	}
	return out
}

// UnknownKeys lists the keys of spec.hard that mean nothing to a MiniQuota, sorted.
func UnknownKeys(hard corev1.ResourceList) []string {
	var out []string
	for key := range hard {
		if _, counts := NativeKey(key); !counts && !IsCompute(key) {
			out = append(out, string(key))
		}
	}
	slices.Sort(out)
	return out
}

// Summary is status.usedSummary: "cpu: 800m/1, count/minipods: 5/10". What is not known yet is shown as "?".
func Summary(hard, used corev1.ResourceList) string {
	parts := make([]string, 0, len(hard))
	for _, key := range slices.Sorted(maps.Keys(hard)) {
		now, bound := "?", hard[key]
		if q, known := used[key]; known {
			now = q.String()
		}
		parts = append(parts, fmt.Sprintf("%s: %s/%s", key, now, bound.String()))
	}
	return strings.Join(parts, ", ")
}

// AtLimit lists the keys of which all is used, sorted.
func AtLimit(hard, used corev1.ResourceList) []string {
	var out []string
	for key, bound := range hard {
		if q, known := used[key]; known && q.Cmp(bound) >= 0 {
			out = append(out, string(key))
		}
	}
	slices.Sort(out)
	return out
}

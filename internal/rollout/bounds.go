package rollout

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// defaultPercent is what native Deployments take for maxSurge and maxUnavailable when they are not given.
const defaultPercent = 25

// Bounds are how many MiniPods a rollout may have above the wanted number (maxSurge, a percentage rounded up), and how
// many below (maxUnavailable, rounded down, never more than there are). Never are both 0, since nothing could move then.
// The strategy Recreate has no bounds: 0 and 0.
func Bounds(d *miniv1.MiniDeployment) (surge, unavailable int) {
	replicas := Wanted(d)
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return 0, 0
	}
	var given miniv1.RollingUpdateDeployment
	if d.Spec.Strategy.RollingUpdate != nil {
		given = *d.Spec.Strategy.RollingUpdate
	}
	surge = resolve(given.MaxSurge, replicas, 99)
	unavailable = resolve(given.MaxUnavailable, replicas, 0)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, replicas)
}

// resolve makes a number of a number or of a percentage of total: roundUp 99 rounds up, 0 down.
func resolve(value *intstr.IntOrString, total, roundUp int) int {
	percent := defaultPercent
	if value != nil && value.Type == intstr.Int {
		return max(0, int(value.IntVal))
	}
	if value != nil {
		given, err := strconv.Atoi(strings.TrimSuffix(value.StrVal, "%"))
		if err != nil {
			return 0 // the API server refuses what is not a percentage
		}
		percent = max(0, given)
	}
	return (percent*total + roundUp) / 100
}

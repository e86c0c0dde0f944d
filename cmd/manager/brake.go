package main

import (
	"flag"
	"fmt"
	"math"
	"time"

	"miniplane.dev/miniplane/internal/nodelife"
)

// brake are the flags that say how fast silent nodes are emptied. Names and defaults are those of Kubernetes' own node lifecycle
// controller.
type brake struct {
	rate, secondaryRate float64 // nodes of a zone in a second
	unhealthy           float64 // a share
	large               int
}

func (b *brake) bind(flags *flag.FlagSet) {
	flags.Float64Var(&b.rate, "node-eviction-rate", b.rate, "how many silent nodes of a zone may be emptied in a second; 0 for none")
	flags.Float64Var(&b.secondaryRate, "secondary-node-eviction-rate", b.secondaryRate, "the same while --unhealthy-zone-threshold of a large zone is silent; 0 for none")
	flags.Float64Var(&b.unhealthy, "unhealthy-zone-threshold", b.unhealthy, "share of silent nodes, and at least three, from which on a zone's evictions are slowed, or stopped in a zone that is not large")
	flags.IntVar(&b.large, "large-cluster-size-threshold", b.large, "number of nodes above which a zone is large")
}

func (b *brake) validate() (errs []error) {
	for name, rate := range map[string]float64{"node-eviction-rate": b.rate, "secondary-node-eviction-rate": b.secondaryRate} {
		if rate < 0 || rate > 1000 || math.IsNaN(rate) {
			errs = append(errs, fmt.Errorf("--%s %g: must lie between 0 and 1000 nodes in a second", name, rate))
		}
	}
	if !(b.unhealthy > 0 && b.unhealthy <= 1) {
		errs = append(errs, fmt.Errorf("--unhealthy-zone-threshold %g: must be more than 0 and at most 1", b.unhealthy))
	}
	if b.large < 0 {
		errs = append(errs, fmt.Errorf("--large-cluster-size-threshold %d: must not be negative", b.large))
	}
	return errs
}

// brake is what they mean.
func (b *brake) brake() nodelife.Brake {
	return nodelife.Brake{Every: interval(b.rate), EverySlow: interval(b.secondaryRate), Unhealthy: int(math.Ceil(b.unhealthy * 1000)), Large: b.large}
}

// interval is the time between two at that rate; 0 for never.
func interval(rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(min(float64(time.Second)/rate, float64(math.MaxInt64/2)))
}

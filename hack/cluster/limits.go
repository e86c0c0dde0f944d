//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
)

// A full cluster is a yardstick, and Kubernetes' parts hold themselves back: they ask the API server for so much a second and
// no more. Comparing with that alone would praise whoever has no such limits. So a full cluster runs with the defaults, as
// most clusters do, or with limits that are never reached on one machine.
const (
	limitsDefault = "default"
	limitsRaised  = "raised"
)

// checkLimits refuses what is neither.
func checkLimits(limits string) error {
	if limits != limitsDefault && limits != limitsRaised {
		return fmt.Errorf("there are no limits %q, only %s and %s", limits, limitsDefault, limitsRaised)
	}
	return nil
}

// clientLimitArgs are the flags of kube-scheduler and kube-controller-manager: none, so that their own defaults hold, or
// raised ones.
func clientLimitArgs(limits string) []string {
	if limits != limitsRaised {
		return nil
	}
	return []string{"--kube-api-qps=2000", "--kube-api-burst=4000"}
}

// kubeletLimits are the lines of a kubelet's configuration for the same. Pulls are in it though the measured images are
// there already: a kubelet asks before each start.
func kubeletLimits(limits string) string {
	if limits != limitsRaised {
		return ""
	}
	return `kubeAPIQPS: 2000
kubeAPIBurst: 4000
eventRecordQPS: 0
eventBurst: 4000
registryPullQPS: 0
serializeImagePulls: false
maxParallelImagePulls: 16
`
}

// SetLimits gives a full cluster's parts other limits: it starts those again that have others.
func (c *Cluster) SetLimits(ctx context.Context, limits string) error {
	if err := checkLimits(limits); err != nil {
		return err
	}
	return c.change(ctx, func(s *State) error {
		if !c.full {
			return errors.New("only a full cluster has limits to set; start one with: make cluster-up MODE=full")
		}
		c.limits, s.Limits = limits, limits
		if err := c.writeState(s); err != nil {
			return err
		}
		node := c.Node(0)
		if err := c.writeNodeFiles(node); err != nil {
			return err
		}
		for _, p := range []Program{c.kcm(), c.scheduler(), c.kubelet(node)} {
			if _, err := c.processes.Ensure(p); err != nil {
				return err
			}
		}
		return c.waitNodeReady(ctx, node)
	})
}

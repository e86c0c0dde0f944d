// Package noderesources lets a MiniPod onto nodes with room for what it asks for, and prefers those with much room.
package noderesources

import (
	"miniplane.dev/miniplane/internal/sched/framework"
)

// Fit passes nodes that have the cpu, the memory and a free place for one more MiniPod.
type Fit struct{}

// Name of the plugin.
func (Fit) Name() string { return "NodeResourcesFit" }

// Filter compares what the MiniPod asks for with what is free. What it does not ask for is not held against it.
func (Fit) Filter(pod *framework.Pod, node *framework.NodeInfo) framework.Reason {
	asks, free := pod.Charge.Requests, node.Free()
	switch {
	case asks.MilliCPU > 0 && asks.MilliCPU > free.MilliCPU:
		return framework.Reason{Code: framework.InsufficientCPU, Asks: asks.MilliCPU, Free: free.MilliCPU}
	case asks.MemoryBytes > 0 && asks.MemoryBytes > free.MemoryBytes:
		return framework.Reason{Code: framework.InsufficientMemory, Asks: asks.MemoryBytes, Free: free.MemoryBytes}
	case node.Pods >= node.Spec.MaxPods:
		return framework.Reason{Code: framework.TooManyPods, Asks: 1, Free: node.Spec.MaxPods}
	}
	return framework.Reason{}
}

// LeastRequested prefers nodes of which the smaller share will be asked for, over cpu and memory alike.
type LeastRequested struct{}

// Name of the plugin.
func (LeastRequested) Name() string { return "LeastRequested" }

// Score is the mean of the free shares of cpu and memory with the MiniPod in place.
func (LeastRequested) Score(pod *framework.Pod, node *framework.NodeInfo) int64 {
	total, used := node.Spec.Allocatable, node.Weight.Add(pod.Weight)
	return (freeShare(used.MilliCPU, total.MilliCPU) + freeShare(used.MemoryBytes>>20, total.MemoryBytes>>20)) / 2
}

// freeShare is what is left of total, in parts of MaxScore. Both are small enough (memory is in MiB) not to overflow.
func freeShare(used, total int64) int64 {
	if total <= 0 || used >= total {
		return 0
	}
	return (total - used) * framework.MaxScore / total
}

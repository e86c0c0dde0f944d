package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

// checkBudget refuses a lane that is larger than its machine.
func (h host) checkBudget(o *Options) error {
	var errs []error
	if o.CPU.MilliValue() > int64(h.cpus)*1000 {
		errs = append(errs, fmt.Errorf("--cpu %s: this machine has %d", &o.CPU, h.cpus))
	}
	if o.Memory.Value() > h.memory {
		errs = append(errs, fmt.Errorf("--memory %s: this machine has %d bytes", &o.Memory, h.memory))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the lane's budget is more than there is; ask for less, or leave the flag away for all:\n%w", err)
	}
	return nil
}

// keepBudget holds what MiniPods use together to the lane's budget, so that Pods on the same machine get what was promised
// to them. It looks again at every resync: more may be in use than a lower budget allows, and someone may change a cgroup.
func (a *agent) keepBudget(ctx context.Context) {
	limits := cgroup.Limits{CPUMillis: a.opts.CPU.MilliValue(), MemoryBytes: a.opts.Memory.Value()}
	ticker := time.NewTicker(a.opts.Resync)
	defer ticker.Stop()
	for {
		if err := a.machine.SetBudget(limits); err != nil {
			a.log.Info("Cannot hold the lane to its budget; trying again", "cgroup", a.opts.CgroupParent, "err", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

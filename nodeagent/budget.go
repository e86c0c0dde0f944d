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
	if o.PIDs > h.pids {
		errs = append(errs, fmt.Errorf("--pids %d: this machine has %d, by kernel.pid_max and kernel.threads-max", o.PIDs, h.pids))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the lane's budget is more than there is; ask for less, or leave the flag away for all:\n%w", err)
	}
	return nil
}

// limits are what MiniPods may use together. Of processes and threads the lane leaves a quarter to the rest of the machine, so
// that whatever MiniPods do, the kubelet, containerd and people who log in can start programs.
func (h host) limits(o *Options) cgroup.Limits {
	out := cgroup.Limits{CPUMillis: o.CPU.MilliValue(), MemoryBytes: o.Memory.Value(), PIDs: o.PIDs}
	if out.PIDs == 0 {
		out.PIDs = h.pids - h.pids/4
	}
	return out
}

// keepBudget holds what MiniPods use together to the lane's budget, so that Pods on the same machine get what was promised
// to them. It looks again at every resync: more may be in use than a lower budget allows, and someone may change a cgroup.
func (a *agent) keepBudget(ctx context.Context) {
	limits := a.host.limits(&a.opts)
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

package nodeagent

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/relief"
	"miniplane.dev/miniplane/nodeagent/podworker"
	"miniplane.dev/miniplane/nodeagent/runtime/cgroup"
)

const (
	// relieveEvery is the time between two looks at how many processes the lane has, which is one number of the kernel's: bombs fill a lane
	// in less, and until somebody gives way nobody can fork.
	relieveEvery = 250 * time.Millisecond
	// calmEvery is the time between two looks at what each MiniPod has while there is room.
	calmEvery = time.Minute
	// settled is when a new agent looks at each MiniPod for the first time: the kernel keeps the bounds that the last one set, and
	// MiniPods that wait to be started come first.
	settled = 2 * time.Second
)

// Processes are those of all MiniPods of the machine, threads counted too.
type Processes interface {
	// Count is how many there are.
	Count() (int64, error)
	// ByPod is how many each MiniPod has.
	ByPod() map[types.UID]int64
	// Limit bounds those of each MiniPod that is there already, whatever bound it was made with.
	Limit(most int64) error
	// Kill ends those of one MiniPod.
	Kill(uid types.UID)
}

var relieved = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "miniplane_agent_pids_reliefs_total",
	Help: "MiniPods whose processes were ended because the node's MiniPods had nearly as many as they can have together.",
})

func init() { metrics.Registry.MustRegister(relieved) }

// processes are counted by the kernel in the cgroups below one.
type processes struct{ parent string }

// Count implements Processes.
func (p processes) Count() (int64, error) { return cgroup.PIDCount(p.parent) }

// ByPod implements Processes.
func (p processes) ByPod() map[types.UID]int64 {
	out := map[types.UID]int64{}
	for _, name := range cgroup.Children(p.parent) {
		if uid, ok := podworker.PodOfCgroup(name); ok {
			if n, err := cgroup.PIDCount(filepath.Join(p.parent, name)); err == nil { // it may have gone meanwhile
				out[uid] = n
			}
		}
	}
	return out
}

// Kill implements Processes.
func (p processes) Kill(uid types.UID) {
	cgroup.Kill(filepath.Join(p.parent, podworker.CgroupOfPod(uid)))
}

// Limit implements Processes.
func (p processes) Limit(most int64) error {
	var errs []error
	for _, name := range cgroup.Children(p.parent) {
		path := filepath.Join(p.parent, name)
		if _, ok := podworker.PodOfCgroup(name); !ok {
			continue
		}
		if err := cgroup.LimitPIDs(path, most); err != nil && cgroup.Exists(path) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// countPIDs is nil where they are not counted.
func (a *agent) countPIDs() func() (int64, error) {
	if a.machine.Processes == nil {
		return nil
	}
	return a.machine.Processes.Count
}

// limitPods holds MiniPods that run already to the bound for one; what is started gets it before its first process.
func (a *agent) limitPods(ctx context.Context) {
	for wait := settled; ; wait = a.opts.Resync {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := a.machine.Processes.Limit(a.opts.PodMaxPIDs); err != nil {
			a.log.Info("Cannot bound the processes of MiniPods; trying again", "cgroup", a.opts.CgroupParent, "err", err.Error())
		}
	}
}

// relieve ends the processes of the MiniPod that has taken the most, when hardly any are left for the others. One bomb is kept by its own
// limit; for several together this is what the kernel's memory killer is for memory. The containers are started again as their
// policy says, later and later if it goes on.
func (a *agent) relieve(ctx context.Context) {
	most := a.host.limits(&a.opts).PIDs
	ticker := time.NewTicker(relieveEvery)
	defer ticker.Stop()
	var calm map[types.UID]int64
	calmAt := time.Now().Add(settled - calmEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		used, err := a.machine.Processes.Count()
		switch {
		case err != nil: // there is no MiniPod yet
		case relief.Full(used, most):
			a.relieveOne(ctx, calm, used, most)
		case relief.Calm(used, most) && time.Since(calmAt) >= calmEvery:
			calm, calmAt = a.machine.Processes.ByPod(), time.Now()
		}
	}
}

func (a *agent) relieveOne(ctx context.Context, calm map[types.UID]int64, used, most int64) {
	now := a.machine.Processes.ByPod()
	uid, found := relief.Who(calm, now, most)
	if !found {
		return // the MiniNode says PIDPressure
	}
	a.machine.Processes.Kill(uid)
	relieved.Inc()
	a.log.Info("Ended the processes of the MiniPod that took the most: hardly any were left for the others",
		"uid", uid, "had", now[uid], "all", used, "limit", most)
	var pods miniv1.MiniPodList
	if err := a.cache.List(ctx, &pods); err != nil {
		return // the log has it
	}
	for i := range pods.Items {
		if pods.Items[i].UID == uid {
			a.recorder.Eventf(&pods.Items[i], nil, corev1.EventTypeWarning, miniv1.ReasonInsufficientPIDs, "KillContainer",
				"its %d processes and threads were ended: the node's MiniPods had %d of the %d that they can have together (--pids of the agent)",
				now[uid], used, most)
		}
	}
}

package scheduling

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/framework"
	"miniplane.dev/miniplane/internal/sched/queue"
)

// amnesty is how often the first of every waiting class is tried without a reason, should an event ever be missed.
const amnesty = 5 * time.Minute

// Start decides until the context ends, and then waits for the writes that are under way.
func (s *Scheduler) Start(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("scheduler")
	ctx = ctrl.LoggerInto(ctx, log)
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	log.Info("scheduling starts", "queue", s.queue.Depths())
	defer s.writers.going.Wait()
	s.startOrphanWorkers(ctx)
	ticker := time.NewTicker(amnesty)
	defer ticker.Stop()
	for ctx.Err() == nil {
		for s.attemptNext(ctx) {
		}
		s.rest(ctx, ticker.C)
	}
	return nil
}

// rest sleeps until there is something to do.
func (s *Scheduler) rest(ctx context.Context, amnesty <-chan time.Time) {
	s.report()
	retry := make(<-chan time.Time)
	if at, ok := s.queue.NextRetry(); ok {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-ctx.Done():
	case <-s.queue.Ready():
	case <-retry:
	case <-amnesty:
		s.queue.Wake(queue.Always)
	}
}

// attemptNext tries the next MiniPod; it reports whether there was one.
func (s *Scheduler) attemptNext(ctx context.Context) bool {
	select {
	case s.writers.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	pod, ok := s.queue.Pop()
	if !ok {
		<-s.writers.slots
		return false
	}
	if node, doubtful := s.cache.Doubtful(pod.UID); doubtful { // it is decided; only the answer is missing
		s.writers.start(pod.Namespace, func() bool { return s.bind(ctx, s.live, pod, node) })
		return true
	}
	start := time.Now()
	outcome := s.decide(pod)
	took := time.Since(start)
	s.queue.Spent(pod.Namespace, took)
	decisionSeconds.Observe(took.Seconds())
	attempts.WithLabelValues(outcome.result).Inc()
	s.writers.start(pod.Namespace, func() bool {
		if outcome.node != "" {
			return s.bind(ctx, s.client, pod, outcome.node)
		}
		return s.park(ctx, pod, outcome)
	})
	return true
}

// outcome is what became of one attempt: a node, or why there is none.
type outcome struct {
	result  string // for metrics
	node    string
	wait    queue.Wait
	reason  string
	message string
}

// decide chooses a node, and charges the MiniPod to it and to its quotas.
func (s *Scheduler) decide(pod *framework.Pod) outcome {
	// 1. The Pod Security level of the namespace: what it refuses, no node and no quota will make better.
	if why := s.refusal(pod); why != nil {
		return notAllowed(why)
	}
	// 2. The quotas, since they are cheap to ask and the numbers there are easier to understand.
	if exceeded := s.ledger.Check(pod.Namespace, &pod.Charge); exceeded != nil {
		return overQuota(exceeded.Message())
	}
	// 3. The nodes.
	decision := s.cycle.Decide(pod)
	if decision.Node == "" {
		return outcome{result: resultUnschedulable, wait: queue.ForNode.KeptFrom(decision.Kept), reason: miniv1.ReasonUnschedulable, message: decision.Message}
	}
	// 4. The charge on both accounts. It can fail only when a quota came between.
	s.distinguish(pod)
	s.charging.Lock()
	exceeded := s.ledger.Admit(pod.UID, pod.Namespace, &pod.Charge)
	if exceeded == nil {
		s.cache.Assume(pod, decision.Node)
	}
	s.charging.Unlock()
	if exceeded != nil {
		return overQuota(exceeded.Message())
	}
	// 5. It is assumed from here on; the next of its class may try, and those that wait for its company.
	s.queue.Placed(pod)
	s.othersChanged(nil, pod)
	return outcome{result: resultScheduled, node: decision.Node}
}

func overQuota(message string) outcome {
	return outcome{result: resultQuota, wait: queue.ForQuota, reason: miniv1.ReasonQuotaExceeded, message: message}
}

package podworker

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/jitter"
	"miniplane.dev/miniplane/internal/podplan"
	"miniplane.dev/miniplane/internal/podstate"
	"miniplane.dev/miniplane/internal/statuspatch"
)

const (
	// The waits between tries to write a status.
	writeRetryBase = 50 * time.Millisecond
	writeRetryMax  = 5 * time.Second
	// writeTimeout bounds one try.
	writeTimeout = 10 * time.Second
)

// publisher writes one MiniPod's status. It has a goroutine only while there is something to write, and at most one
// request under way, so that an older status cannot overtake a newer one.
type publisher struct {
	worker *worker
	kick   chan struct{}

	mu        sync.Mutex
	want      *miniv1.MiniPodStatus
	notBefore time.Time
	running   bool
}

// offer replaces what is to be written.
func (p *publisher) offer(want *miniv1.MiniPodStatus, notBefore time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		if latest := p.worker.latest(); latest == nil || podplan.SaysNothingNew(&latest.Status, want) {
			return
		}
		p.running = true
		p.worker.pool.writers.Go(func() { p.run(p.worker.pool.ctx) })
	}
	p.want, p.notBefore = want, notBefore
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// drop gives up what is not written yet.
func (p *publisher) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = nil
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// next is what to write and when; nil, and the end of the goroutine, when there is nothing.
func (p *publisher) next() (*miniv1.MiniPodStatus, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = p.want != nil
	return p.want, p.notBefore
}

// done takes a status off that was dealt with, unless a newer one came in meanwhile.
func (p *publisher) done(status *miniv1.MiniPodStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want == status {
		p.want = nil
	}
}

func (p *publisher) run(ctx context.Context) {
	failures := 0
	for {
		want, at := p.next()
		if want == nil {
			return
		}
		if wait := at.Sub(p.worker.pool.Clock.Now()); wait > 0 {
			if !p.wait(ctx, wait, p.kick) {
				return
			}
			continue
		}
		err := p.write(ctx, want)
		switch {
		case err == nil || apierrors.IsNotFound(err):
			failures = 0
			p.done(want)
		case apierrors.IsConflict(err) && p.readAgain(ctx):
			conflicts.Inc() // somebody else wrote a condition meanwhile: the same status, with that
		case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
			p.worker.pool.Log.Error(err, "The API server refuses a status; please report this", "pod", p.worker.uid)
			p.done(want)
		default:
			failures++
			p.worker.pool.Log.V(1).Info("Cannot write a status; trying again", "pod", p.worker.uid, "err", err.Error())
			if !p.wait(ctx, jitter.Up(podplan.Doubled(writeRetryBase, writeRetryMax, failures)), nil) {
				return
			}
		}
	}
}

// wait ends with the time, with a kick, or, false, with the agent.
func (p *publisher) wait(ctx context.Context, d time.Duration, kick <-chan struct{}) bool {
	timer := p.worker.pool.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
	case <-kick:
	}
	return true
}

// write sends one patch against the newest version known.
func (p *publisher) write(ctx context.Context, want *miniv1.MiniPodStatus) error {
	before := p.worker.latest()
	if before == nil || podstate.IsFinished(before) {
		return nil
	}
	after := before.DeepCopy()
	after.Status = *want.DeepCopy()
	podplan.KeepForeign(&after.Status, before)
	if podplan.SaysNothingNew(&before.Status, &after.Status) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	written, err := statuspatch.PatchShared(ctx, p.worker.pool.Client, before, after)
	if err != nil || !written {
		return err
	}
	p.worker.pool.measureWritten(before, after, p.worker.observed.TakenUp)
	p.worker.set(after)
	tell(p.worker.pool.Recorder, before, after)
	return nil
}

// readAgain reads the MiniPod that the API server has now, and tells whether it could.
func (p *publisher) readAgain(ctx context.Context) bool {
	before := p.worker.latest()
	if before == nil {
		return true // it is gone, and nothing will be written
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	now := &miniv1.MiniPod{}
	if err := p.worker.pool.Client.Get(ctx, client.ObjectKeyFromObject(before), now); err != nil || now.UID != before.UID {
		return false
	}
	p.worker.set(now)
	return now.ResourceVersion != before.ResourceVersion
}

package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// parts run beside each other and end together: when the context does, or when one fails.
type parts struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	group  sync.WaitGroup
}

func newParts(ctx context.Context) *parts {
	p := &parts{}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

func (p *parts) run(name string, f func(context.Context) error) {
	p.group.Go(func() {
		if err := f(p.ctx); err != nil && p.ctx.Err() == nil {
			p.cancel(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// stop ends all parts and waits for them.
func (p *parts) stop() {
	p.cancel(nil)
	p.group.Wait()
}

// wait waits for the end: nil if it was asked for.
func (p *parts) wait() error {
	<-p.ctx.Done()
	p.group.Wait()
	return p.cause(nil)
}

// cause is why the parts ended; err where they did not, nil where it was asked for.
func (p *parts) cause(err error) error {
	if p.ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(p.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// forever is a part that does not fail.
func forever(f func(context.Context)) func(context.Context) error {
	return func(ctx context.Context) error { f(ctx); return nil }
}

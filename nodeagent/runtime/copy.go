package runtime

import "context"

// Copy copies what an image has in its volumes, in the container's turn. The error is that of the copying, or of ctx.
func (s *ContainerSpec) Copy(ctx context.Context, do func() error) (err error) {
	if s.CopyTurn == nil {
		return do()
	}
	done := false
	s.CopyTurn(ctx, func() { done, err = true, do() })
	if !done {
		return context.Cause(ctx)
	}
	return err
}

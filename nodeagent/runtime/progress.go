package runtime

import "context"

// PullProgress hears of a pull that is under way. Its methods are called from many goroutines.
type PullProgress interface {
	// Request tells that a request to a registry began (1), or that its answer came to its end (-1).
	Request(delta int)
	// Expect tells that so many bytes of the image are to come; it is called for each layer that is not there.
	Expect(bytes int64)
	// Bytes tells that so much came, of any answer.
	Bytes(n int)
}

type progressKey struct{}

// WithPullProgress makes PullImage tell of its progress.
func WithPullProgress(ctx context.Context, p PullProgress) context.Context {
	return context.WithValue(ctx, progressKey{}, p)
}

// PullProgressOf is who wants to hear of a pull; nil if nobody does.
func PullProgressOf(ctx context.Context) PullProgress {
	p, _ := ctx.Value(progressKey{}).(PullProgress)
	return p
}

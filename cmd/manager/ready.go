package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// ready tells whether the manager can do what is asked of it: the leader when its cache has seen everything, one that stands by at
// once.
func ready(elected <-chan struct{}, seen cache.Cache) healthz.Checker {
	return func(r *http.Request) error {
		select {
		case <-elected:
		default:
			return nil
		}
		ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
		defer cancel()
		if !seen.WaitForCacheSync(ctx) {
			return errors.New("the cache is still filling")
		}
		return nil
	}
}

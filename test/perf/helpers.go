package main

import (
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// inParallel does something with every item, so many at a time.
func inParallel[T any](items []T, parallel int, do func(T) error) error {
	group := errgroup.Group{}
	group.SetLimit(parallel)
	for _, item := range items {
		group.Go(func() error { return do(item) })
	}
	return group.Wait()
}

// eachItem visits the objects of a list.
func eachItem(list client.ObjectList, do func(client.Object) error) error {
	return meta.EachListItem(list, func(o runtime.Object) error { return do(o.(client.Object)) })
}

func podNames(n int, format string, args ...any) []string {
	prefix := fmt.Sprintf(format, args...)
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

const megabyte = 1e6

package constraints

import (
	"iter"
	"maps"
	"slices"
	"strconv"

	"miniplane.dev/miniplane/internal/sched/framework"
)

// kind is MiniPods that no selector can tell apart: those of a namespace with the same labels.
type kind struct {
	key             kindKey
	namespace       string
	namespaceLabels map[string]string
	labels          map[string]string
	ending          bool
	// at is how many there are, by slot.
	at map[int32]int64
	// tallies count them.
	tallies []*tally
	// concerned by these terms of others, as of that version of the Book's terms; 0 is never.
	concerned []*carried
	version   int64
}

type kindKey struct {
	namespace, labels string
	ending            bool
}

func keyOf(pod *framework.Pod) kindKey {
	return kindKey{pod.Namespace, labelsText(pod.Labels), pod.Ending}
}

func labelsText(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	keys := slices.Collect(maps.Keys(labels))
	slices.Sort(keys)
	out := make([]byte, 0, 128)
	for _, key := range keys { // a key has no blank
		out = append(append(out, key...), ' ')
		out = strconv.AppendQuote(out, labels[key])
	}
	return string(out)
}

// index finds what may be about MiniPods of a namespace.
type index[T comparable] struct {
	named map[string][]T
	// wide is about namespaces by their labels.
	wide []T
}

func newIndex[T comparable]() index[T] { return index[T]{named: map[string][]T{}} }

func (x *index[T]) add(who *framework.Selection, item T) {
	if who.ByLabels != nil {
		x.wide = append(x.wide, item)
		return
	}
	for _, name := range who.Names {
		x.named[name] = append(x.named[name], item)
	}
}

func (x *index[T]) remove(who *framework.Selection, item T) {
	if who.ByLabels != nil {
		x.wide = without(x.wide, item)
		return
	}
	for _, name := range who.Names {
		if x.named[name] = without(x.named[name], item); len(x.named[name]) == 0 {
			delete(x.named, name)
		}
	}
}

func (x *index[T]) of(namespace string) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, list := range [][]T{x.named[namespace], x.wide} {
			for _, item := range list {
				if !yield(item) {
					return
				}
			}
		}
	}
}

// without takes an item out of a list, whose order does not matter.
func without[T comparable](list []T, item T) []T {
	i := slices.Index(list, item)
	if i < 0 {
		return list
	}
	last := len(list) - 1
	list[i] = list[last]
	var none T
	list[last] = none
	return list[:last]
}

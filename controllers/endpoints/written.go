package endpoints

import (
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// written remembers, per service, the slices that were written last and that the cache does not show yet. A slice that was
// deleted is remembered without content. The metadata.generation tells which of two versions is the newer one.
type written struct {
	mu       sync.Mutex
	services map[types.NamespacedName]map[string]entry
}

type entry struct {
	slice   *discoveryv1.EndpointSlice
	deleted bool
}

func newWritten() *written {
	return &written{services: map[types.NamespacedName]map[string]entry{}}
}

// note remembers a write.
func (w *written) note(service types.NamespacedName, slice *discoveryv1.EndpointSlice, deleted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.services[service] == nil {
		w.services[service] = map[string]entry{}
	}
	w.services[service][slice.Name] = entry{slice: slice, deleted: deleted}
}

// over lays what was written over what the cache shows, and forgets what the cache has caught up with.
func (w *written) over(service types.NamespacedName, cached []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	w.mu.Lock()
	defer w.mu.Unlock()
	entries := w.services[service]
	var out []*discoveryv1.EndpointSlice
	seen := map[string]bool{}
	for _, slice := range cached {
		last, ok := entries[slice.Name]
		seen[slice.Name] = true
		switch {
		case !ok:
			out = append(out, slice)
		case last.deleted && last.slice.UID == slice.UID:
		case !last.deleted && (last.slice.UID != slice.UID || last.slice.Generation > slice.Generation):
			out = append(out, last.slice)
		default:
			delete(entries, slice.Name)
			out = append(out, slice)
		}
	}
	for name, last := range entries {
		switch {
		case seen[name]:
		case last.deleted:
			delete(entries, name)
		default:
			out = append(out, last.slice)
		}
	}
	return out
}

// has tells whether this very version of a slice is what was written last.
func (w *written) has(slice client.Object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	last, ok := w.services[types.NamespacedName{Namespace: slice.GetNamespace(), Name: serviceOf(slice)}][slice.GetName()]
	return ok && !last.deleted && last.slice.ResourceVersion == slice.GetResourceVersion()
}

// drop forgets a slice that is gone.
func (w *written) drop(slice client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	entries := w.services[types.NamespacedName{Namespace: slice.GetNamespace(), Name: serviceOf(slice)}]
	if last, ok := entries[slice.GetName()]; ok && last.slice.UID == slice.GetUID() {
		delete(entries, slice.GetName())
	}
}

// forget drops all of a service.
func (w *written) forget(service types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.services, service)
}

// pace keeps a distance between two writes of the same service.
type pace struct {
	interval time.Duration
	mu       sync.Mutex
	last     map[types.NamespacedName]time.Time
}

func newPace(interval time.Duration) *pace {
	return &pace{interval: interval, last: map[types.NamespacedName]time.Time{}}
}

// wait tells how long to wait until the service may be written again.
func (p *pace) wait(service types.NamespacedName, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, ok := p.last[service]
	if !ok {
		return 0
	}
	return last.Add(p.interval).Sub(now)
}

func (p *pace) note(service types.NamespacedName, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last[service] = now
}

func (p *pace) forget(service types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, service)
}

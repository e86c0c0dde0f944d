package quota

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Ledger is the account of all namespaces: who is charged what, and which MiniQuotas must hold. Only the scheduler has
// one. It is rebuilt from the bound MiniPods at every start. Safe for concurrent use.
//
//	          Admit ok                    Charge (seen bound)
//	waiting ────────────► charged ◄──────────────────────────── found bound at the start
//	   ▲                     │
//	   └─────────────────────┘
//	      Release: binding failed, containers ended for good, or the MiniPod is gone
type Ledger struct {
	mu         sync.RWMutex
	pods       map[types.UID]entry
	namespaces map[string]*account
}

type entry struct {
	namespace string
	usage     Usage
}

type account struct {
	used   Usage
	pods   int
	quotas map[string][]Bound
	names  []string // of quotas, sorted, so that messages are stable
}

// NewLedger makes an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{pods: map[types.UID]entry{}, namespaces: map[string]*account{}}
}

// SetQuota takes up the bounds of a MiniQuota, and tells whether they are new or changed.
func (l *Ledger) SetQuota(namespace, name string, hard corev1.ResourceList) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, bounds := l.of(namespace), BoundsOf(hard)
	if old, known := a.quotas[name]; known && slices.Equal(old, bounds) {
		return false
	}
	a.quotas[name] = bounds
	a.names = slices.Sorted(maps.Keys(a.quotas))
	return true
}

// DeleteQuota forgets a MiniQuota.
func (l *Ledger) DeleteQuota(namespace, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.of(namespace)
	delete(a.quotas, name)
	a.names = slices.Sorted(maps.Keys(a.quotas))
	l.tidy(namespace)
}

// Check tells whether a MiniPod would be admitted now: nil, or the first quota, by name, that would not hold.
func (l *Ledger) Check(namespace string, charge *Charge) *Exceeded {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.check(namespace, charge)
}

// Admit charges a MiniPod if all quotas of its namespace hold with it, and says otherwise which does not. Admitting a
// MiniPod that is charged already does nothing.
func (l *Ledger) Admit(uid types.UID, namespace string, charge *Charge) *Exceeded {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, charged := l.pods[uid]; charged {
		return nil
	}
	if exceeded := l.check(namespace, charge); exceeded != nil {
		return exceeded
	}
	l.put(uid, entry{namespace, charge.Usage})
	return nil
}

// Charge accounts for a MiniPod that is bound, whether or not the quotas hold with it: it is there.
func (l *Ledger) Charge(uid types.UID, namespace string, usage Usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := entry{namespace, usage}
	if l.pods[uid] == now {
		return
	}
	l.drop(uid)
	l.put(uid, now)
}

// Release takes a MiniPod off the account, and tells whether it was on it.
func (l *Ledger) Release(uid types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.drop(uid)
}

// Used is the sum of what the charged MiniPods of a namespace take.
func (l *Ledger) Used(namespace string) Usage {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if a, ok := l.namespaces[namespace]; ok {
		return a.used
	}
	return Usage{}
}

func (l *Ledger) check(namespace string, charge *Charge) *Exceeded {
	a, ok := l.namespaces[namespace]
	if !ok {
		return nil
	}
	for _, name := range a.names {
		if exceeded := Check(name, a.quotas[name], a.used, charge); exceeded != nil {
			return exceeded
		}
	}
	return nil
}

func (l *Ledger) put(uid types.UID, e entry) {
	l.pods[uid] = e
	a := l.of(e.namespace)
	a.used, a.pods = a.used.Add(e.usage), a.pods+1
}

func (l *Ledger) drop(uid types.UID) bool {
	e, charged := l.pods[uid]
	if !charged {
		return false
	}
	delete(l.pods, uid)
	a := l.of(e.namespace)
	a.used, a.pods = a.used.Sub(e.usage), a.pods-1
	l.tidy(e.namespace)
	return true
}

func (l *Ledger) of(namespace string) *account {
	a, ok := l.namespaces[namespace]
	if !ok {
		a = &account{quotas: map[string][]Bound{}}
		l.namespaces[namespace] = a
	}
	return a
}

// tidy forgets a namespace about which there is nothing to know.
func (l *Ledger) tidy(namespace string) {
	if a := l.of(namespace); a.pods == 0 && len(a.quotas) == 0 {
		delete(l.namespaces, namespace)
	}
}

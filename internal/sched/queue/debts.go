package queue

import (
	"container/heap"
	"time"
)

// Decisions cost what MiniPods ask for: thirty terms about all MiniPods of the cluster cost a thousand times what none costs. So that nobody holds up others by that,
// a namespace that took more than its share is in debt, and its MiniPods are tried when no others are to be.
const (
	// share is the part of the time that a namespace can have for decisions without falling into debt, as one part of so many.
	share = 10
	// credit is how much of it a namespace can take at once.
	credit = 100 * time.Millisecond
)

// debt is what a namespace took beyond its share, at a time.
type debt struct {
	owed time.Duration
	at   time.Time
}

func (d debt) left(now time.Time) time.Duration { return max(0, d.owed-now.Sub(d.at)/share) }

// Spent says that deciding about a MiniPod of the namespace took so long.
func (q *Queue) Spent(namespace string, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.debts[namespace] = debt{q.debts[namespace].left(now) + took, now}
	if len(q.debts) > q.tidyAt {
		for name, d := range q.debts {
			if d.left(now) == 0 {
				delete(q.debts, name)
			}
		}
		q.tidyAt = 2*len(q.debts) + 64
	}
}

func (q *Queue) inDebt(namespace string, now time.Time) bool {
	return q.debts[namespace].left(now) > credit
}

// next takes the item to try next: the oldest of those whose namespace is not in debt, or else of the namespace that owes least. Nil when there is none.
func (q *Queue) next(now time.Time) *item {
	for namespace, late := range q.late {
		if !q.inDebt(namespace, now) {
			delete(q.late, namespace)
			for _, it := range late.list {
				it.state = inActive
				heap.Push(&q.active, it)
			}
		}
	}
	for len(q.active.list) > 0 {
		it := heap.Pop(&q.active).(*item)
		if !q.inDebt(it.pod.Namespace, now) {
			return it
		}
		q.putOff(it)
	}
	least := ""
	for namespace := range q.late {
		if least == "" || q.debts[namespace].left(now) < q.debts[least].left(now) {
			least = namespace
		}
	}
	if least == "" {
		return nil
	}
	it := q.late[least].list[0]
	q.leaveLate(it)
	return it
}

func (q *Queue) putOff(it *item) {
	late, ok := q.late[it.pod.Namespace]
	if !ok {
		late = &items{less: older}
		q.late[it.pod.Namespace] = late
	}
	it.state = inLate
	heap.Push(late, it)
}

func (q *Queue) leaveLate(it *item) {
	late := q.late[it.pod.Namespace]
	heap.Remove(late, it.at)
	if late.Len() == 0 {
		delete(q.late, it.pod.Namespace)
	}
}

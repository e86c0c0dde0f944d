// Package expectations remembers, per owner, which objects a controller has just created or deleted, until its cache shows
// them. A controller that decides on counts waits until then, or it would do everything twice.
package expectations

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Timeout is after how long an unmet expectation is given up, since a watch event may have been for an object that was
// gone before it was seen.
const Timeout = 5 * time.Minute

// Store holds the expectations of all owners of one controller. The zero value is not usable; see New. Safe for concurrent
// use.
type Store struct {
	mu     sync.Mutex
	now    func() time.Time
	owners map[types.NamespacedName]*pending
}

type pending struct {
	created sets.Set[types.UID]
	deleted sets.Set[types.UID]
	since   time.Time
}

// New makes an empty store that takes the time from now.
func New(now func() time.Time) *Store {
	return &Store{now: now, owners: map[types.NamespacedName]*pending{}}
}

// ExpectCreated says that an object of this UID was created for the owner.
func (s *Store) ExpectCreated(owner types.NamespacedName, uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(owner).created.Insert(uid)
}

// ExpectDeleted says that an object of this UID was deleted for the owner.
func (s *Store) ExpectDeleted(owner types.NamespacedName, uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(owner).deleted.Insert(uid)
}

// Satisfied compares the expectations with what the cache shows: exists tells whether an object of the UID is in the
// cache, and whether it is being deleted there.
func (s *Store) Satisfied(owner types.NamespacedName, exists func(types.UID) (found, deleting bool)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.owners[owner]
	if !ok {
		return true
	}
	for uid := range p.created {
		if found, _ := exists(uid); found {
			p.created.Delete(uid)
		}
	}
	for uid := range p.deleted {
		if found, deleting := exists(uid); !found || deleting {
			p.deleted.Delete(uid)
		}
	}
	if p.created.Len()+p.deleted.Len() == 0 || s.now().Sub(p.since) > Timeout {
		delete(s.owners, owner)
		return true
	}
	return false
}

// Forget drops what was expected for an owner that is gone.
func (s *Store) Forget(owner types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, owner)
}

func (s *Store) of(owner types.NamespacedName) *pending {
	p, ok := s.owners[owner]
	if !ok {
		p = &pending{created: sets.New[types.UID](), deleted: sets.New[types.UID]()}
		s.owners[owner] = p
	}
	p.since = s.now()
	return p
}

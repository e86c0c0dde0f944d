package volumes

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// locks are one for each MiniPod whose volumes somebody works on. No two MiniPods share one: what a container leaves may take minutes to be removed.
type locks struct {
	mu sync.Mutex
	of map[types.UID]*counted
}

type counted struct {
	sync.Mutex
	users int
}

// lock waits for the MiniPod's, and gives what unlocks it.
func (l *locks) lock(uid types.UID) (unlock func()) {
	l.mu.Lock()
	own := l.of[uid]
	if own == nil {
		if l.of == nil {
			l.of = map[types.UID]*counted{}
		}
		own = &counted{}
		l.of[uid] = own
	}
	own.users++
	l.mu.Unlock()
	own.Lock()
	return func() {
		own.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(l.of, uid)
		}
	}
}

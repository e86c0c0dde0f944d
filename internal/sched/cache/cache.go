// Package cache is the scheduler's picture of the nodes and of what is charged on them.
//
// The idea: the API says late what the scheduler has just decided, so a decision is assumed at once and confirmed, or
// forgotten, when the binding has been written. What each MiniPod goes through here:
//
//		                Assume                    Confirm
//		  (unknown) ─────────────► ASSUMED ─────────────────► BOUND
//		     ▲  │                    │  │                      │ ▲
//		     │  │                    │  └──────── Bind ────────│─┘  the API shows it bound
//		     │  └────────── Bind ────│─────────────────────────┘    to some node: the API is right
//		     │                       │                         │
//		     └────── Forget ─────────┘                         │    the binding failed
//		     └────── Remove ─────────┴─────────────────────────┘    ended for good, or gone
//
//	  - ASSUMED may be DOUBTFUL: nobody knows whether the binding was written, since the API server gave no answer. It is as
//	    charged as before, and written again until there is an answer, or until the API shows what became of it.
//	  - A binding is for ever: news that show a MiniPod unbound are old news once it is ASSUMED or BOUND, and the caller
//	    drops them (see Holds).
//	  - Confirm and Forget of a MiniPod that was removed meanwhile do nothing; so a deletion that overtakes the answer to
//	    the binding leaves no charge behind.
//	  - Whatever is ASSUMED or BOUND is charged on its node, also when the node is not known yet, or no more: the charge is
//	    there when the node comes back.
//
// A Snapshot is a copy for one reader, brought up to date by copying only the nodes that changed since.
//
// Who asks about other MiniPods, and who is meant by such a question, decides under the cache's lock, with the counters of package constraints
// (around.go). There are none as long as nobody asks.
package cache

import (
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
	"miniplane.dev/miniplane/internal/sched/constraints"
	"miniplane.dev/miniplane/internal/sched/framework"
)

// Cache is safe for concurrent use, with one Snapshot.
type Cache struct {
	mu     sync.Mutex
	nodes  []*node          // by slot; a free slot is an empty node
	slots  map[string]int32 // by name
	free   []int32          // slots to use again
	dirty  []int32          // slots that the snapshot has not seen
	pods   map[types.UID]*charged
	groups map[framework.Group]int
	doubts int // how many are doubtful

	namespaces map[string]map[string]string // the labels of each
	book       *constraints.Book            // nil as long as no MiniPod asks about others
}

type node struct {
	framework.NodeInfo
	mini  *miniv1.MiniNode
	core  *corev1.Node
	dirty bool
}

type charged struct {
	pod     *framework.Pod
	slot    int32
	assumed bool
	doubt   bool
}

// New makes an empty cache.
func New() *Cache {
	return &Cache{slots: map[string]int32{}, pods: map[types.UID]*charged{}, groups: map[framework.Group]int{}, namespaces: map[string]map[string]string{}}
}

// SetMiniNode takes up a MiniNode, new or changed; nil means that it is gone. It reports whether the scheduler sees a
// difference, and whether MiniPods that look at others do.
func (c *Cache) SetMiniNode(name string, mini *miniv1.MiniNode) (changed, moved bool) {
	return c.setNode(name, func(n *node) { n.mini = mini })
}

// SetCoreNode takes up a core Node, new or changed; nil means that it is gone. It reports whether the scheduler sees a
// difference, and whether MiniPods that look at others do.
func (c *Cache) SetCoreNode(name string, core *corev1.Node) (changed, moved bool) {
	return c.setNode(name, func(n *node) { n.core = core })
}

// Assume charges a MiniPod on the node that was chosen for it, before the binding is written.
func (c *Cache) Assume(pod *framework.Pod, nodeName string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(pod, nodeName, true)
}

// Confirm says that the binding was written.
func (c *Cache) Confirm(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.pods[uid]; ok {
		c.settle(p)
	}
}

// Doubt says that it is not known whether the binding of an assumed MiniPod was written. It reports whether that is news.
func (c *Cache) Doubt(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pods[uid]
	if !ok || !p.assumed || p.doubt {
		return false
	}
	p.doubt = true
	c.doubts++
	return true
}

// Doubtful is the node that a MiniPod was assumed on, if it is not known whether that was written.
func (c *Cache) Doubtful(uid types.UID) (nodeName string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, found := c.pods[uid]; found && p.doubt {
		return c.nodes[p.slot].Name, true
	}
	return "", false
}

// Doubts is how many MiniPods are doubtful.
func (c *Cache) Doubts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doubts
}

// Forget takes back an assumption, since the binding failed. A MiniPod that is bound by now stays. It reports whether
// something was taken back.
func (c *Cache) Forget(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.pods[uid]; !ok || !p.assumed {
		return false
	}
	return c.drop(uid)
}

// Bind charges a MiniPod that the API shows bound. It does nothing if that is known. It returns what it was charged as before, nil if it was not, and whether
// that is the same to others.
func (c *Cache) Bind(pod *framework.Pod, nodeName string) (before *framework.Pod, same bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pods[pod.UID]
	if !ok {
		c.put(pod, nodeName, false)
		return nil, false
	}
	before = p.pod
	if c.nodes[p.slot].Name != nodeName || before.Class != pod.Class || !maps.Equal(before.Labels, pod.Labels) {
		c.put(pod, nodeName, false)
		return before, false
	}
	c.settle(p)
	return before, !c.renew(p, pod)
}

// Remove takes a MiniPod off its node, since nothing of it is left. It returns the node it was on, or "".
func (c *Cache) Remove(uid types.UID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pods[uid]
	if !ok {
		return ""
	}
	name := c.nodes[p.slot].Name
	c.drop(uid)
	return name
}

// Holds tells whether a MiniPod is assumed or bound, and where.
func (c *Cache) Holds(uid types.UID) (nodeName string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, found := c.pods[uid]; found {
		return c.nodes[p.slot].Name, true
	}
	return "", false
}

// Pod is a MiniPod as it is charged; nil if it is not.
func (c *Cache) Pod(uid types.UID) *framework.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.pods[uid]; ok {
		return p.pod
	}
	return nil
}

// Node is a copy of one node, and its slot; ok is false where there is none for the scheduler.
func (c *Cache) Node(name string) (info framework.NodeInfo, slot int32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot, known := c.slots[name]
	if !known || !c.nodes[slot].Exists() {
		return framework.NodeInfo{}, 0, false
	}
	c.nodes[slot].CopyInto(&info)
	return info, slot, true
}

// GroupSize is how many MiniPods of a group are charged, on all nodes.
func (c *Cache) GroupSize(group framework.Group) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.groups[group]
}

func (c *Cache) setNode(name string, change func(*node)) (changed, moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := c.slotOf(name)
	n := c.nodes[slot]
	change(n)
	spec := framework.NewNodeSpec(n.mini, n.core)
	changed = !n.Spec.Equal(spec)
	if changed {
		n.Spec = spec
		c.touch(slot)
		moved = c.book != nil && c.book.SetNode(slot, name, spec)
	}
	c.tidy(slot)
	return changed, moved
}

func (c *Cache) put(pod *framework.Pod, nodeName string, assumed bool) {
	c.drop(pod.UID)
	if pod.Around != nil {
		c.open()
	}
	slot := c.slotOf(nodeName)
	c.pods[pod.UID] = &charged{pod: pod, slot: slot, assumed: assumed}
	c.nodes[slot].Charge(pod)
	if pod.Group != 0 {
		c.groups[pod.Group]++
	}
	if c.book != nil {
		c.book.Charge(pod, slot)
	}
	c.touch(slot)
}

func (c *Cache) drop(uid types.UID) bool {
	p, ok := c.pods[uid]
	if !ok {
		return false
	}
	c.settle(p)
	delete(c.pods, uid)
	c.nodes[p.slot].Release(p.pod)
	if group := p.pod.Group; group != 0 {
		if c.groups[group]--; c.groups[group] == 0 {
			delete(c.groups, group)
		}
	}
	if c.book != nil {
		c.book.Release(p.pod, p.slot)
	}
	c.touch(p.slot)
	c.tidy(p.slot)
	return true
}

// settle ends assumption and doubt.
func (c *Cache) settle(p *charged) {
	p.assumed = false
	if p.doubt {
		p.doubt = false
		c.doubts--
	}
}

func (c *Cache) slotOf(name string) int32 {
	if slot, ok := c.slots[name]; ok {
		return slot
	}
	var slot int32
	if last := len(c.free) - 1; last >= 0 {
		slot, c.free = c.free[last], c.free[:last]
	} else {
		slot = int32(len(c.nodes))
		c.nodes = append(c.nodes, &node{})
	}
	c.nodes[slot].Name = name
	c.slots[name] = slot
	return slot
}

// touch makes the snapshot copy the node the next time.
func (c *Cache) touch(slot int32) {
	if n := c.nodes[slot]; !n.dirty {
		n.dirty = true
		c.dirty = append(c.dirty, slot)
	}
}

// tidy frees the slot of a node about which there is nothing to know.
func (c *Cache) tidy(slot int32) {
	n := c.nodes[slot]
	if n.mini != nil || n.core != nil || n.Pods != 0 {
		return
	}
	delete(c.slots, n.Name)
	n.NodeInfo = framework.NodeInfo{}
	if c.book != nil {
		c.book.SetNode(slot, "", nil)
	}
	c.touch(slot)
	c.free = append(c.free, slot)
}

package cache

import (
	"maps"

	"miniplane.dev/miniplane/internal/sched/constraints"
	"miniplane.dev/miniplane/internal/sched/framework"
)

// Around brings the snapshot up to date and calls decide, before anything can change, with what other MiniPods mean for the Pod. It reports
// false, and does not call, when they mean nothing.
func (c *Cache) Around(s *Snapshot, pod *framework.Pod, weights constraints.Weights, decide func(*constraints.Limits)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pod.Around != nil {
		c.open()
	}
	c.update(s)
	if c.book == nil {
		return false
	}
	limits := c.book.Limits(pod, weights)
	if limits == nil {
		return false
	}
	decide(limits)
	return true
}

// Concerned tells whether the Pod may go to some nodes and not to others because of what is around.
func (c *Cache) Concerned(pod *framework.Pod) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book != nil && (pod.Around.Requires() || c.book.Repelled(pod))
}

// Counts tells whether any MiniPod asks about others, or did.
func (c *Cache) Counts() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book != nil
}

// Far tells whether MiniPods have terms about others in namespaces that are told by their labels.
func (c *Cache) Far() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book != nil && c.book.Far()
}

// SetNamespace takes up the labels of a namespace; nil where it is gone. It reports whether they are others than before.
func (c *Cache) SetNamespace(name string, labels map[string]string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setNamespace(name, labels)
}

func (c *Cache) setNamespace(name string, labels map[string]string) bool {
	if maps.Equal(c.namespaces[name], labels) {
		return false
	}
	if c.namespaces[name] = labels; labels == nil {
		delete(c.namespaces, name)
	}
	if c.book != nil {
		c.book.NamespaceChanged(name)
	}
	return true
}

// LearnNamespace takes up the labels of a namespace of which none are known; what is known already is newer, and stays.
func (c *Cache) LearnNamespace(name string, labels map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.namespaces[name]; !known {
		c.setNamespace(name, labels)
	}
}

// open begins to count, with all that there is.
func (c *Cache) open() {
	if c.book != nil {
		return
	}
	c.book = constraints.New(c.namespaces)
	for slot, n := range c.nodes {
		c.book.SetNode(int32(slot), n.Name, n.Spec)
	}
	for _, p := range c.pods {
		c.book.Charge(p.pod, p.slot)
	}
}

// renew takes up what others may ask of a MiniPod that is charged and stays where it is. It reports whether that is something else.
func (c *Cache) renew(p *charged, pod *framework.Pod) bool {
	if p.pod.Ending == pod.Ending {
		return false
	}
	if c.book != nil {
		c.book.Release(p.pod, p.slot)
		c.book.Charge(pod, p.slot)
	}
	p.pod = pod
	return true
}

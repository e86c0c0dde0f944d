package podsecurity

import (
	"fmt"
	"sync"

	miniv1 "miniplane.dev/miniplane/api/v1alpha1"
)

// Namespaces are the policies of the namespaces that were seen. The zero value knows none, and so refuses every MiniPod. It is
// safe for concurrent use.
type Namespaces struct {
	mu       sync.RWMutex
	policies map[string]Policy
}

// Set takes up the labels of a namespace, and tells whether what it asks for changed.
func (n *Namespaces) Set(name string, labels map[string]string) (changed bool) {
	policy := PolicyOf(labels)
	n.mu.Lock()
	defer n.mu.Unlock()
	if before, known := n.policies[name]; known && before == policy {
		return false
	}
	if n.policies == nil {
		n.policies = map[string]Policy{}
	}
	n.policies[name] = policy
	return true
}

// Learn takes up the labels of a namespace that is not known; what is known already is newer, and stays.
func (n *Namespaces) Learn(name string, labels map[string]string) (changed bool) {
	if _, known := n.Policy(name); known {
		return false
	}
	return n.Set(name, labels)
}

// Delete forgets a namespace that is gone.
func (n *Namespaces) Delete(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.policies, name)
}

// Policy of a namespace; known is false for one that was never seen, or is gone.
func (n *Namespaces) Policy(name string) (policy Policy, known bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	policy, known = n.policies[name]
	return policy, known
}

// Check tells why the MiniPod may not run in its namespace; nil if it may.
func (n *Namespaces) Check(pod *miniv1.MiniPod) *Refusal {
	policy, known := n.Policy(pod.Namespace)
	if !known {
		return Unknown(pod.Namespace)
	}
	return policy.Check(pod)
}

// Unknown refuses everything in a namespace that is not known.
func Unknown(namespace string) *Refusal {
	return &Refusal{Reason: miniv1.ReasonPodSecurityUnknown, Message: fmt.Sprintf(
		"the Pod Security level of namespace %q is not known, so nothing is started in it; if this lasts, see that miniplane's "+
			"ServiceAccounts may get, list and watch namespaces (config/rbac)", namespace)}
}

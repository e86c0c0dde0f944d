package v1alpha1

// PodNamespaces are what a MiniPod shares with its node, and its containers with each other. The fields are core/v1's.
type PodNamespaces struct {
	// hostNetwork puts the MiniPod into the network of its node: its address, its ports and its host name are the node's. The ports of its
	// containers are ports of the node, each with the hostPort of the same number, given or not.
	// +optional
	HostNetwork bool `json:"hostNetwork,omitempty"`

	// hostPID lets the containers see, and as far as they may end, all processes of the node.
	// +optional
	HostPID bool `json:"hostPID,omitempty"`

	// hostIPC lets the containers use the shared memory, semaphores and queues of the node, and its /dev/shm.
	// +optional
	HostIPC bool `json:"hostIPC,omitempty"`

	// shareProcessNamespace lets the containers see each other's processes. The first of them is the MiniPod's own.
	// +optional
	ShareProcessNamespace *bool `json:"shareProcessNamespace,omitempty"`
}

// SharesPIDs tells whether the containers see each other's processes, and no others.
func (n *PodNamespaces) SharesPIDs() bool {
	return n.ShareProcessNamespace != nil && *n.ShareProcessNamespace
}

// unusual tells whether an agent that knows no such thing would do something else.
func (n *PodNamespaces) unusual() bool {
	return n.HostNetwork || n.HostPID || n.HostIPC || n.SharesPIDs()
}

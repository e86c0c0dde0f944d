// Package node tests the agent as a program: the real containerd, the real kernel, a real API server, in a network
// namespace of its own. The tests play the scheduler and the manager. They need root.
package node

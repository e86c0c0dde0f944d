package containerd

// Lease is for tests that need one of the agent's own.
var Lease = (*Runtime).lease

// Package e2e tests a running cluster as its users see it: through kubectl, the API, and packets. It takes the kubeconfig of
// any cluster with miniplane on it (KUBECONFIG, or the local cluster's); what differs between clusters, reaching a node and
// breaking things, is behind substrate. Tests that break nothing, and need no part of the cluster for themselves, run beside each other, after the others.
package e2e

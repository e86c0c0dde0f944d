// Package install tests that miniplane can be installed on a cluster, by kustomize and by helm, and that it leaves no trace when
// it is uninstalled. It begins and ends with a full cluster (make cluster-up MODE=full) that has the image and nothing else of
// miniplane; hack/e2e-full.sh runs it.
package install

# A kind cluster with miniplane on it: see docs/local-cluster.md.

KIND_KUBECONFIG := $(CURDIR)/.local/kind.kubeconfig

##@ kind

.PHONY: kind-up
kind-up: ## Start a kind cluster of three nodes with miniplane on it. KIND_NODE_IMAGE=… where images cannot be pulled
	@PATH="$(ASSETS):$$PATH" hack/kind.sh up

.PHONY: kind-down
kind-down: ## Delete it.
	@hack/kind.sh down

.PHONY: e2e-kind
e2e-kind: ## Run the end-to-end suite on a fresh kind cluster of three nodes.
	hack/kind.sh down
	status=0; export PATH="$(ASSETS):$$PATH"; hack/kind.sh up && \
		E2E_SUBSTRATE=kind KUBECONFIG=$(KIND_KUBECONFIG) go test -count=1 -timeout 40m -v ./test/e2e || status=$$?; \
		[ $$status = 0 ] || hack/kind.sh logs || true; \
		hack/kind.sh down || status=$$?; exit $$status

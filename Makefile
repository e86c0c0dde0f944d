# miniplane: a second, fast lane for containers on a Kubernetes that is already there. `make help` lists the targets.

SHELL := /bin/bash -eu -o pipefail
.DEFAULT_GOAL := help

# Programs from outside (etcd, kube-apiserver, containerd …) are built once into the user's cache; see hack/assets.sh.
ASSETS = $(shell hack/assets.sh kubectl)
# Everything but the suites that need a running cluster.
PACKAGES = $(shell go list ./... | grep -v -e /test/e2e -e /test/install -e /test/twin)
# How long one test package may take.
TEST_TIMEOUT ?= 15m

-include hack/make/*.mk

##@ Use

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "; printf "usage: make TARGET\n"} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the manager and the node agent into bin/.
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/ ./cmd/manager ./cmd/nodeagent

##@ Develop

.PHONY: generate
generate: ## Generate deep copies, CRDs, the helm chart, and the tables of packages, metrics, waits and fields.
	go tool controller-gen object paths=./api/...
	go tool controller-gen crd:maxDescLen=0 paths=./api/... output:crd:artifacts:config=config/crd/bases
	go run ./hack/schemas config/crd/bases/*.yaml
	go run ./hack/chart
	go run ./hack/metrics
	go run ./hack/waits
	go run ./hack/fields
	hack/architecture.sh

.PHONY: lint
lint: ## Run the linters.
	$$(hack/lint.sh) run ./...

.PHONY: verify
verify: generate lint ## Generate, lint, check docs and configuration; then the tree must be clean.
	hack/verify.sh

##@ Test

.PHONY: test
test: prereqs test-unit e2e e2e-runc ## Run all tests: unit, integration, node (as root), and end to end on a local cluster.

.PHONY: test-unit
test-unit: ## Run unit, integration and node tests, with the race detector.
	hack/assets.sh etcd kube-apiserver kubectl helm containerd containerd-shim-runc-v2 ctr runc >/dev/null
	go test -race -timeout $(TEST_TIMEOUT) $(PACKAGES)

# What is tried again and again, and how often: PKG=./nodeagent/proxy COUNT=20.
PKG ?= ./internal/... ./controllers/... ./nodeagent/...
COUNT ?= 10
FUZZTIME ?= 20s

.PHONY: deflake
deflake: ## Run tests many times in changing order, with the race detector, until one fails: PKG=./nodeagent/proxy COUNT=20
	go test -race -shuffle=on -failfast -count=$(COUNT) -timeout 0 $(PKG)

.PHONY: fuzz
fuzz: ## Let every fuzz target look for new inputs, FUZZTIME=20s each.
	grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r package; do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$package/*_test.go | cut -c6-); do \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: differential
differential: ## Ask the scheduler and kube-scheduler's own plugins the same questions, in a module of its own that has all of Kubernetes. SHORT=1
	cd test/differential && go test -count=1 -v $(if $(SHORT),-short) .

.PHONY: e2e
e2e: ## Run the end-to-end suite on a fresh local cluster of three nodes, or a part of it: RUN=TestRollout SHIM=runc
	$(MAKE) --no-print-directory cluster-down
	$(MAKE) --no-print-directory cluster-up NODES=3
	status=0; PATH="$(ASSETS):$$PATH" go test -count=1 -timeout 30m -parallel 3 -v $(if $(RUN),-run '$(RUN)') ./test/e2e || status=$$?; \
		bin/cluster down || status=$$?; exit $$status

.PHONY: e2e-runc
e2e-runc: ## Run what of it concerns containers with containerd's shim and runc in place of miniplane's shim.
	$(MAKE) --no-print-directory e2e SHIM=runc RUN='TestSeedManifests|TestAgentKilledUnderChurn|TestContainerdKilled|TestCrashLoopAndImageChange'

.PHONY: e2e-full
e2e-full: ## Run it on a fresh full cluster, where miniplane is installed beside all of Kubernetes. SHORT=1
	hack/e2e-full.sh

##@ Measure

# How often each side is measured, and which figures: ONLY=P1,P2.
ROUNDS ?= 5
ONLY ?=

.PHONY: bench
bench: ## Measure native Pods and MiniPods side by side on a full cluster: one table with ratios. ROUNDS=5 ONLY=P1,P2
	hack/bench.sh full -rounds $(ROUNDS) -only "$(ONLY)" -out $(if $(ONLY),.local/bench,docs/performance)

.PHONY: bench-quick
bench-quick: ## See whether the yardstick works: one round of few Pods. Its figures mean nothing.
	hack/bench.sh full -quick -out .local/bench

.PHONY: bench-local
bench-local: ## Measure MiniPods alone on a local cluster.
	hack/bench.sh local -rounds $(ROUNDS) -only "$(ONLY)" -out .local/bench

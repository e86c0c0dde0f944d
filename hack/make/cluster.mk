# A local cluster on this machine: see docs/local-cluster.md.

# MODE=full: all of Kubernetes on one node, without miniplane.
MODE ?= local
# LIMITS=raised, with MODE=full: Kubernetes' own parts may ask the API server for more than is their default.
LIMITS ?= default
# SHIM=runc: agents use containerd's shim and runc in place of miniplane's shim.
SHIM ?= own
NODES ?= $(if $(filter full,$(MODE)),1,2)
# The command in CMD goes to the shell as it is written, quotes and dollars included.
cluster-exec: export CLUSTER_EXEC_CMD := $(value CMD)

##@ Local cluster

.PHONY: prereqs
prereqs: ## Install the Debian packages that local clusters and tests need, saying which.
	@hack/prereqs.sh --install

.PHONY: bin/cluster
bin/cluster:
	@go build -o bin/cluster ./hack/cluster

.PHONY: cluster-up
cluster-up: bin/cluster ## Start a local cluster, or what is missing of it. NODES=2 MODE=local|full LIMITS=default|raised SHIM=own|runc
	@bin/cluster up -mode $(MODE) -limits $(LIMITS) -shim $(SHIM) -nodes $(NODES)

.PHONY: cluster-down
cluster-down: bin/cluster ## Stop it and leave nothing behind.
	@bin/cluster down

.PHONY: cluster-status
cluster-status: bin/cluster ## Show what of it runs.
	@bin/cluster status

.PHONY: cluster-exec
cluster-exec: bin/cluster ## Run a command in a node's network namespace. NODE=mini-0 CMD='…'
	@[ -n "$(NODE)" ] && [ -n "$$CLUSTER_EXEC_CMD" ] || { echo "usage: make cluster-exec NODE=mini-0 CMD='…'" >&2; exit 2; }
	@bin/cluster exec "$(NODE)" "$$CLUSTER_EXEC_CMD"

.PHONY: image-load
image-load: bin/cluster ## Import an OCI or docker archive into every node. TAR=image.tar
	@[ -n "$(TAR)" ] || { echo "usage: make image-load TAR=image.tar" >&2; exit 2; }
	@bin/cluster image-load "$(TAR)"

.PHONY: demo
demo: prereqs ## Start here: a local cluster with samples that run and answer.
	@$(MAKE) --no-print-directory bin/cluster
	@hack/demo.sh

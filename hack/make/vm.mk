# Virtual machines with cgroup v2: see docs/virtual-machines.md.

##@ Virtual machines

.PHONY: vm-up
vm-up: ## Start virtual machines with cgroup v2, with the tests of PARTS in them. NODES=1 PARTS='cgroup runtime …'
	@hack/vm/prereqs.sh --install
	@hack/vm/payload.sh $(or $(PARTS),cgroup sandbox network)
	@hack/vm/vm.sh up $(if $(filter command environment,$(origin NODES)),$(NODES),1)

.PHONY: vm-down
vm-down: ## End them, and leave nothing behind.
	@hack/vm/vm.sh down

.PHONY: test-vm
test-vm: ## Run the tests of nodes in a fresh one. PARTS='cgroup runtime …' SHORT=1 RUN=TestName KEEP=1
	@hack/vm/prereqs.sh --install
	@hack/vm/test.sh $(PARTS)

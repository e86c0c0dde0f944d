# The campaign of faults: see docs/reliability.md.

##@ Measure

.PHONY: faults
faults: ## Do harm to clusters of this machine, and print one table of what came of it. ONLY=agent,leader SHORT=1
	ONLY="$(ONLY)" SHORT="$(SHORT)" ON="$(ON)" hack/faults.sh

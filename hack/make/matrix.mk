# What nodes may have: see docs/compatibility.md.
#
# CONTAINERD=1.7 and IPTABLES=legacy change every test and local cluster that starts a containerd or an agent: they are read by
# hack/assets.sh, test/node and hack/cluster.

##@ Test

.PHONY: test-matrix
test-matrix: prereqs ## Run what depends on a node's containerd and iptables with containerd 1.7 and with legacy iptables.
	CONTAINERD=1.7 go test -count=1 -timeout 30m ./nodeagent/runtime/containerd ./nodeagent ./nodeagent/podworker
	CONTAINERD=1.7 IPTABLES=legacy go test -count=1 -timeout 30m ./test/node
	go test -count=1 -timeout 30m ./nodeagent/iptables ./nodeagent/proxy ./nodeagent/network ./nodeagent/conntrack ./hack/image
	$(MAKE) --no-print-directory e2e CONTAINERD=1.7 IPTABLES=legacy

.PHONY: test-upgrade
test-upgrade: ## Upgrade a node from the agent of an earlier version, and take the upgrade back, under MiniPods that run. FROM=COMMIT
	@[ -n "$(FROM)" ] || { echo "usage: make test-upgrade FROM=COMMIT" >&2; exit 2; }
	MINIPLANE_TEST_FORMER=$$(hack/former.sh $(FROM)) go test -count=1 -v -run '^TestUpgradeFromFormer$$' ./test/node

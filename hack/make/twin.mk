# Pods and MiniPods side by side: see test/twin.

##@ Test

.PHONY: twin
twin: ## Compare MiniPods with native Pods, history by history, on a fresh full cluster: one table. RUN='TestTwins/of/.*probe'
	hack/twin.sh $(if $(RUN),-run '$(RUN)')

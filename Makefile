generate:
	go tool controller-gen object paths=./api/...
	go tool controller-gen crd:maxDescLen=0 paths=./api/... output:crd:artifacts:config=config/crd/bases
	go run ./hack/quantityschema config/crd/bases/*.yaml

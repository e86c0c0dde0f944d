# The image of miniplane: see docs/install.md.

IMG ?= miniplane.dev/miniplane:dev
VERSION ?=

##@ Image

.PHONY: image
image: ## Build the image without Docker or a registry, as .local/images/miniplane.tar. VERSION=v0.1.0
	go run ./hack/image -o .local/images -version "$(VERSION)" miniplane

.PHONY: docker-build
docker-build: ## Build the same image with Docker. IMG=registry/name:tag VERSION=v0.1.0
	docker build --build-arg VERSION="$(VERSION)" --tag "$(IMG)" .

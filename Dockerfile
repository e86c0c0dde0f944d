# The image of miniplane, both programs in one: `docker build --tag registry/name:tag .`, or make docker-build IMG=registry/name:tag.
# What is in it is listed in hack/image/product.go, which also makes it without Docker: make image.

FROM golang:1.26-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates gcc iptables libc6-dev libseccomp-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY controllers controllers
COPY hack/image hack/image
COPY hack/ociarchive hack/ociarchive
COPY hack/pause.sh hack/shim.sh hack/
COPY internal internal
COPY nodeagent nodeagent
ARG VERSION=
RUN go run ./hack/image -unpack -o /image -version "$VERSION" miniplane

# No shell, no packages: the programs, the pause program, both kinds of iptables with their libraries, and certificates. The manager
# runs as nobody; the agent's Pod asks for root.
FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/local/bin:/usr/sbin
USER 65532:65532

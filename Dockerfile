# The two images of miniplane: `docker build --target manager .` and `docker build --target agent .`

FROM golang:1.26-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends libseccomp-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY controllers controllers
COPY hack/pause.sh hack/shim.sh hack/
COPY internal internal
COPY nodeagent nodeagent
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/ ./cmd/manager ./cmd/nodeagent \
 && cp "$(hack/pause.sh)/pause" /out/pause && cp "$(hack/shim.sh)/shim" /out/shim

# The manager needs nothing but itself.
FROM gcr.io/distroless/static-debian12:nonroot AS manager
COPY --from=build /out/manager /manager
ENTRYPOINT ["/manager"]

# The agent needs iptables, and the programs that it starts and installs: pause and shim.
FROM debian:bookworm-slim AS agent
RUN apt-get update \
 && apt-get install -y --no-install-recommends iptables \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/nodeagent /usr/local/bin/nodeagent
COPY --from=build /out/pause /usr/local/libexec/miniplane/pause
COPY --from=build /out/shim /usr/local/libexec/miniplane/shim
ENTRYPOINT ["nodeagent", "--pause-binary=/usr/local/libexec/miniplane/pause", "--shim-binary=/usr/local/libexec/miniplane/shim"]

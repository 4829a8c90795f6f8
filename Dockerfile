# syntax=docker/dockerfile:1
# The image holds the binary and the certificate authorities, and nothing else: no shell, no package manager.
#
#	docker build -t iuworker --build-arg COMMIT=$(git rev-parse HEAD) --build-arg DATE=$(git log -1 --format=%cI) .
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY docs/api docs/api
COPY internal internal
COPY jobs jobs
COPY riverui riverui
COPY sql sql
COPY worker worker
# One ARG per line: older versions of Buildah and Podman read only the first name of a line.
ARG TARGETOS
ARG TARGETARCH
ARG COMMIT=
ARG DATE=
ARG TAG=
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.commit=$COMMIT -X main.date=$DATE -X main.tag=$TAG" -o /out/iuworker ./cmd/iuworker

FROM scratch
LABEL org.opencontainers.image.title="iuworker" org.opencontainers.image.licenses="MIT"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/iuworker /iuworker
USER 65532:65532
EXPOSE 8080
# The worker is alive or not: one that waits for its database is not restarted.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/iuworker", "healthcheck"]
ENTRYPOINT ["/iuworker"]
CMD ["work"]

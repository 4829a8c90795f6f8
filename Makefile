# What a developer and CI run. Every target does its own set-up: see .ci/setup.

GO       ?= go
BIN      := bin/iuworker
LINT_VERSION := v2.15.0
LINT     := .tools/$(LINT_VERSION)/golangci-lint
RELEASER_VERSION := v2.16.0
RELEASER := .tools/goreleaser-$(RELEASER_VERSION)/goreleaser
SBOM_VERSION := v1.10.0
SBOM     := .tools/cyclonedx-gomod-$(SBOM_VERSION)/cyclonedx-gomod

# PG=18 runs a target on that version of PostgreSQL: 15 is the machine's own, 16 to 18 are pinned in .ci/postgres.
ON_PG    := $(if $(PG),.ci/postgres/with $(PG))

.DEFAULT_GOAL := help
.PHONY: help build demo dev drill bench test matrix matrix-short browser clients packages lint verify setup-server setup-tests setup-browser setup-clients setup-packages

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the static binary bin/iuworker
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(BIN) ./cmd/iuworker

demo: setup-server build ## run the main job once, end to end, on a PostgreSQL of its own
	$(ON_PG) $(BIN) demo

dev: setup-server build ## the same, and stay up with the web pages
	$(ON_PG) $(BIN) dev

drill: setup-server build ## break a scratch installation on purpose for an hour, and prove that nothing is lost (ARGS="--minutes 5" for less)
	$(ON_PG) $(BIN) drill --minutes 60 $(ARGS)

bench: setup-server build ## measure the worker beside PostgreSQL itself (ARGS=--quick for a short run)
	$(ON_PG) $(BIN) bench $(ARGS)
	$(ON_PG) $(GO) test -run - -bench FanOut ./riverui/eventstream
	$(ON_PG) $(GO) test -run - -bench Publish -benchtime 3x ./worker/publish/jetstream

# Tests wait as much as they compute, so more of them run at once than there are processors. verify runs vet.
test: setup-tests ## run all tests with the race detector (PG=16, 17 or 18: on that PostgreSQL)
	$(ON_PG) $(GO) test -race -vet off -parallel 4 -timeout 20m ./...
	cd deploy/check && $(GO) test ./...

matrix: setup-tests ## run all tests on PostgreSQL 18, and those of SQL, workers and operators and the demo on 16 and 17
	GO="$(GO)" .ci/matrix

matrix-short: setup-tests ## the part of matrix that CI runs
	GO="$(GO)" .ci/matrix short

# The tests that need the tag; "make test" runs the others.
BROWSER_TESTS = $(shell grep -l '^//go:build browser' riverui/*_test.go | xargs sed -n 's/^func \(Test[A-Za-z0-9_]*\).*/^\1$$/p' | paste -s -d '|' -)

browser: setup-tests setup-browser ## use the pages of a real worker as a person would, in a headless Chromium
	$(ON_PG) $(GO) test -tags browser -parallel 4 -timeout 10m -run '$(BROWSER_TESTS)' ./riverui

clients: setup-tests setup-clients ## insert events with ORMs and follow them with other programs' clients, direct and behind nginx and haproxy
	$(ON_PG) $(GO) test -tags clients -parallel 8 -timeout 10m -run 'TestProducersInsert|TestTheNodeClient|TestPsqlListens|TestEventSources|TestProxies' ./cmd/iuworker

# A release is built from a tag, by "goreleaser release". A snapshot is the same for this commit, for linux_amd64.
packages: setup-packages $(RELEASER) $(SBOM) ## build archive, deb, rpm, checksums and SBOM into dist/, and check them
	PATH="$(CURDIR)/$(dir $(SBOM)):$$PATH" COMMIT="$$(git rev-parse HEAD)" DATE="$$(git log -1 --format=%cI)" \
	VERSION="$$(sed -n 's/^const ProgramVersion = "\(.*\)"$$/\1/p' sql/version.go)" $(RELEASER) release --snapshot --clean
	cd deploy/check && PACKAGES="$(CURDIR)/dist" $(GO) test -count 1 -run 'TestDeb|TestRpm|TestReleaseFiles' .

lint: $(LINT) ## check the code against the house's rules
	$(LINT) run
	cd deploy/check && $(CURDIR)/$(LINT) run

verify: ## check modules, formatting and vet, and build everything
	$(GO) mod tidy -diff
	cd deploy/check && $(GO) mod tidy -diff && $(GO) vet ./...
	@unformatted="$$(gofmt -l cmd deploy internal jobs riverui sql worker)"; \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) build ./...

setup-server: ## PostgreSQL for demo and dev (as root on Debian: installs it where there is none)
	@.ci/setup server

setup-tests: ## what the tests need: PostgreSQL, psql, pg_dump, PgBouncer, curl, promtool, nats-server, kcat, systemd-analyze, a C compiler
	@.ci/setup tests

setup-browser: ## Chromium and a proxy, for browser
	@.ci/setup browser

setup-packages: ## dpkg and rpm, for packages
	@.ci/setup packages

setup-clients: ## Node, npm, drivers and ORMs of other languages, nginx and haproxy, for clients
	@.ci/setup clients

# The linter is built from source, once, with this machine's Go.
$(LINT):
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

# So are the programs that build releases.
$(RELEASER):
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/goreleaser/goreleaser/v2@$(RELEASER_VERSION)

$(SBOM):
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(SBOM_VERSION)

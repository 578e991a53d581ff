# Everything a developer does here. "make" alone lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Building, vetting, linting and xcaddy use one set of build flags, which is xcaddy's own, so that
# Caddy is compiled once for all of them. The race detector needs cgo, hence a second time.
export CGO_ENABLED := 0
export GOFLAGS := $(shell go env GOFLAGS) -trimpath -tags=nobadger,nomysql,nopgx
export GOWORK := off

STEP := scripts/step
TOOLS := bin/tools/.done
RACE_TEST := env CGO_ENABLED=1 go test
TEST_FLAGS := -timeout 40m ./...

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Use

.PHONY: build
build: ## Build bin/caddy: Caddy, the plugin and the demo LMS
	@$(STEP) "Build bin/caddy (the first time takes a few minutes)" go build -o bin/caddy ./cmd/caddy

.PHONY: demo
demo: build ## Run the demo: an LMS and two protected sites on this machine
	@scripts/demo.sh

## Check

.PHONY: test
test: setup lint build caddyfiles race e2e xcaddy ## Check everything, as CI does
	@echo "==> make test: everything passed"

.PHONY: setup
setup: ## Install what the tests need (as root on Debian), or say what is missing
	@$(STEP) "Look for what the tests need" scripts/setup.sh

.PHONY: lint
lint: $(TOOLS) ## Check formatting, go vet, golangci-lint
	@$(STEP) "Check formatting" scripts/gofumpt.sh
	@$(STEP) "go vet" scripts/each-module.sh go vet ./...
	@$(STEP) "golangci-lint" scripts/each-module.sh "$(CURDIR)/bin/tools/golangci-lint" run --config "$(CURDIR)/.golangci.yml"

.PHONY: race
race: ## Run the tests of the plugin's module with the race detector
	@$(STEP) "go test -race" $(RACE_TEST) -race $(TEST_FLAGS)

# The tests build their Caddy with the race detector. They themselves do without:
# chromedp 0.23 has a race of its own where it attaches to a window.
.PHONY: e2e
e2e: setup ## Run the tests with a browser and a live Caddy
	@$(STEP) "go test in e2e" $(RACE_TEST) -C e2e $(TEST_FLAGS)

.PHONY: caddyfiles
caddyfiles: build ## Check that every Caddyfile is formatted and valid
	@$(STEP) "Check the Caddyfiles" scripts/caddyfiles.sh bin/caddy

.PHONY: xcaddy
xcaddy: $(TOOLS) ## Build with xcaddy as xcaddy.md says, and look at what came out
	@$(STEP) "Build with xcaddy" scripts/xcaddy.sh bin/tools/xcaddy

.PHONY: bench
bench: ## Run the benchmarks
	@$(STEP) "Benchmarks" scripts/each-module.sh go test -run '^$$' -bench . -benchmem ./...

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME (20s)
	@$(STEP) "Fuzz tests" scripts/fuzz.sh $(or $(FUZZTIME),20s)

.PHONY: screenshots
screenshots: setup ## Take the pictures in docs/screenshots anew
	@rm -rf e2e/artifacts/screenshots
	@$(STEP) "Take pictures of the pages" $(RACE_TEST) -C e2e $(TEST_FLAGS) -run TestScreenshots -count 1
	@rm -f docs/screenshots/*.png
	@install -m 644 e2e/artifacts/screenshots/*.png docs/screenshots/

## Tidy

.PHONY: fmt
fmt: $(TOOLS) build ## Format Go files and Caddyfiles
	@bin/tools/golangci-lint fmt --config .golangci.yml
	@scripts/caddyfiles.sh --list | xargs -r -n 1 bin/caddy fmt --overwrite

.PHONY: clean
clean: ## Remove what was built and what the demo stored
	rm -rf bin .demo

$(TOOLS): tools/go.mod tools/go.sum
	@$(STEP) "Build the pinned tools (the first time takes a few minutes)" env GOBIN="$(CURDIR)/bin/tools" go install -C tools tool
	@touch $@

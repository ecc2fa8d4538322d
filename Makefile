# SPDX-License-Identifier: Apache-2.0
# What one can do here. `make help` says a sentence about each target.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
K ?=
SELECT := $(if $(K),-k '$(K)',)
PACKAGES := purelb tests hack

.PHONY: help
help: ## list what one can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The environment: exactly the versions and hashes of requirements.lock, remade when they change.
$(READY): requirements.lock pyproject.toml hack/environment
	@hack/environment '$(PYTHON)' '$(VENV)'

.PHONY: environment
environment: $(READY) ## make the virtual environment that all other targets use

.PHONY: demo
demo: $(READY) ## watch Services get addresses on three nodes, and an address move
	@$(BIN)/purelb sandbox demo

.PHONY: test
test: $(READY) ## unit, property and in-process tests; K= selects
	@$(BIN)/pytest -q -m 'not netns and not conformance' $(SELECT)

.PHONY: netns
netns: $(READY) ## tests on the real kernel in network namespaces (root or user namespaces); K= selects
	@$(BIN)/pytest -q -m netns $(SELECT)

.PHONY: conformance
conformance: $(READY) ## the stories and the fidelity suite on a real control plane, built by hack/ (Go, root, nftables); K= selects
	@hack/build
	@$(if $(KUBECONFIG),PURELB_CONFORMANCE_KUBECONFIG='$(KUBECONFIG)') $(BIN)/pytest -q -m conformance $(SELECT)

.PHONY: bench
bench: $(READY) ## measure every suite on a real control plane into bench/results.json, fail on a missed budget (SUITES=, OUT=; Go, root)
	@hack/bench $(SUITES) --out $(or $(OUT),bench/results.json)

.PHONY: lint
lint: $(READY) ## ruff, import contracts, generated files in sync
	@$(BIN)/ruff check $(PACKAGES)
	@$(BIN)/ruff format --check $(PACKAGES)
	@$(BIN)/lint-imports --no-cache
	@hack/generated --check

.PHONY: types
types: $(READY) ## mypy, strict, tests included
	@$(BIN)/mypy

.PHONY: generated
generated: $(READY) ## make crds/, the RBAC of deploy/, docs/reference/ and docs/benchmarks.md again
	@hack/generated

.PHONY: manifests
manifests: $(READY) ## build every overlay with kubectl kustomize
	@$(BIN)/pytest -q tests/deploy

.PHONY: check
check: lint types test ## what to run before a commit

.PHONY: lock
lock: ## resolve the dependencies again into the two lock files (needs uv); releases younger than a week are left out
	@hack/lock

.PHONY: clean
clean: ## remove what the targets made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .ci/out dist

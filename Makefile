# Short forms of `python3 -m hardway` (the lab) and `python3 -m dev` (checks and tests). `make STACK=name …` is for another
# stack than dev.
STACK ?= dev
PYTHON ?= python3
HARDWAY := $(PYTHON) -m hardway
DEV := $(PYTHON) -m dev

.DEFAULT_GOAL := help
.PHONY: help up preview status verify smoke access destroy prepare clean test test-unit test-program test-engine test-e2e test-profiles test-all lint format bench requirements

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## bring the lab up on this machine, install everything it needs first (SMOKE=1: make smoke afterwards)
	@$(HARDWAY) up --stack $(STACK) $(if $(SMOKE),--smoke)

preview status verify smoke access destroy prepare: ## as `hardway preview`, `hardway status`, …
	@$(HARDWAY) $@ --stack $(STACK)

clean: ## delete .lab: state, private libvirt with its VMs, environment
	@$(HARDWAY) clean

test: ## run all checks and tests (MINUTES=90: begin only as many drawn ones as end in this time)
	@$(DEV) test $(if $(MINUTES),--minutes $(MINUTES))

test-unit: ## test the Python code and the programs of the nodes
	@$(DEV) test unit

test-program: ## test the Pulumi program under mocks
	@$(DEV) test program

test-engine: ## test with the real engine, plugins and libvirt
	@$(DEV) test engine

test-e2e: ## test with real VMs
	@$(DEV) test e2e

test-profiles: ## test one of the other stacks with real VMs
	@$(DEV) test profiles

test-all: ## run all checks and tests, with every stack and more random draws
	@$(DEV) test --thorough

lint: ## check style, types and shell programs
	@$(DEV) test lint

format: ## format the sources
	@.lab/venv-dev/bin/ruff check --fix --quiet && .lab/venv-dev/bin/ruff format --quiet

bench: ## measure the lab: boot, time to Ready, previews, availability during changes, memory, bytes pushed
	@$(DEV) run -- -m dev.bench

# Needs uv. Writes versions and hashes, but no index, for every Python from 3.11 on.
requirements: ## pin what requirements*.in name
	@for name in requirements requirements-dev; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate --no-header $$name.in --output-file $$name.txt; \
	done

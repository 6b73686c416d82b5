# Every target is a command of `python3 -m hardway`, which does the work. `make STACK=name …` is for another stack than dev.
STACK ?= dev
PYTHON ?= python3
HOST := $(PYTHON) -m hardway
DEV := $(PYTHON) -m dev

.DEFAULT_GOAL := help
.PHONY: help up preview verify smoke access destroy prepare test test-unit test-program test-engine test-e2e test-profiles test-all lint format bench clean requirements

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## bring the lab up on this machine, whatever is missing first; show the nodes (SMOKE=1: make smoke then)
	@$(HOST) up --stack $(STACK)
	@$(if $(SMOKE),$(MAKE) --no-print-directory smoke)

preview: ## show what `make up` would change
	@$(HOST) preview --stack $(STACK)

access: ## write kubeconfig and SSH configuration of the lab into .lab/stacks/ (make up does it, too)
	@$(HOST) access --stack $(STACK)

# Looks, and prepares nothing. Whoever needs its exit code (0, 1, 2) runs the command itself: make has its own.
verify: ## compare each node with what the stack says; show what differs
	@test -e .lab/env || { echo 'hardway: .lab/env is not there. Bring the lab up first: make up' >&2; exit 2; }
	@. ./.lab/env && in-lab .lab/venv/bin/python -m ops.verify --stack $(STACK)

# Prepares nothing and leaves nothing behind. Exit codes as those of verify.
smoke: ## try pods, Services, names, logs and commands in pods on every node of a lab that is up
	@test -e .lab/env || { echo 'hardway: .lab/env is not there. Bring the lab up first: make up' >&2; exit 2; }
	@. ./.lab/env && in-lab .lab/venv/bin/python -m ops.smoke --stack $(STACK)

destroy: ## take the lab down: VMs, network, volumes, and what is on machines (make clean: the rest)
	@$(HOST) destroy --stack $(STACK)

prepare: ## only make the machine ready: packages, toolchain, hypervisor, .lab/env
	@$(HOST) prepare --stack $(STACK)

test: ## run all checks and tests
	@$(DEV) test

test-unit: ## test the Python code and the programs of the nodes
	@$(DEV) test unit

test-program: ## test the Pulumi program under mocks
	@$(DEV) test program

test-engine: ## test with the real engine, plugins and hypervisor
	@$(DEV) test engine

test-e2e: ## test with real VMs
	@$(DEV) test e2e

test-profiles: ## test one of the other stacks with real VMs
	@$(DEV) test profiles

test-all: ## run all checks and tests, with every stack and more random draws
	@$(DEV) test --thorough

lint: ## check style, types and shell programs
	@$(DEV) test lint

format: ## bring the sources into their form
	@.lab/venv-dev/bin/ruff check --fix --quiet && .lab/venv-dev/bin/ruff format --quiet

bench: ## measure the lab: boot, time to Ready, previews, memory, bytes pushed
	@$(DEV) run -- -m dev.bench

clean: ## remove .lab: state, private hypervisor and VMs, environment
	@$(HOST) clean

# Needs uv. Of versions and hashes alone, for every Python from 3.11 on.
requirements: ## pin what requirements*.in name
	@for name in requirements requirements-dev; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate --no-header $$name.in --output-file $$name.txt; \
	done

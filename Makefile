# Taskyard's commands. Each does the set-up that it needs: a virtual environment in .venv, pinned requirements.
SHELL := /bin/sh
PYTHON ?= python3
# Each process of the tests has its own Valkey and PostgreSQL; the tests of a file share a process. They are taken in the
# order of their names, so that the long ones come first.
TEST_PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help run test fuzz chaos check lint types fmt bench pictures requirements clean parts

help: ## Show these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Run everything on this machine: http://127.0.0.1:5000
	@exec $(BIN)/python app.py

test: $(VENV)/.dev parts ## Run every test
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(VENV)/.dev parts ## Call the API 100,000 times as its document allows and forbids, on each database: no call may fail
	FUZZ_CALLS=$${FUZZ_CALLS:-100000} $(BIN)/python -m pytest -s --timeout=0 tests/security/test_fuzz.py $(ARGS)

chaos: $(VENV)/.dev parts ## Kill, empty, lock and stop everything while 10,000 jobs run and 500 schedules fire, on each database
	CHAOS_JOBS=$${CHAOS_JOBS:-10000} CHAOS_SCHEDULES=$${CHAOS_SCHEDULES:-500} CHAOS_SCHEDULES_SECONDS=$${CHAOS_SCHEDULES_SECONDS:-300} $(BIN)/python -m pytest -s tests/chaos $(ARGS)

lint: $(VENV)/.dev ## Look for faults of form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Check the types
	$(BIN)/mypy

check: lint types test ## Everything that has to hold before a change goes in

fmt: $(VENV)/.dev ## Put the code into form
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .

bench: $(VENV)/.dev ## Measure: enqueue and execute beside stock RQ, pages by history, live updates, schedules, the start; fills the README's table
	for one in enqueue execute latency pages http_calls live monitor schedules startup abuse abuse_live table; do $(BIN)/python -m bench.$$one || exit 1; done

pictures: $(VENV)/.dev parts ## Take the README's picture and those of all pages anew, and write the layouts that the tests compare
	$(BIN)/python -m tests.e2e.pictures

requirements: $(VENV)/.dev ## Pin the requirements anew from requirements*.in
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --annotation-style=line -o requirements.txt requirements.in
	$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --annotation-style=line -o requirements-dev.txt requirements-dev.in

clean: ## Remove the virtual environment and what tools left behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Taskyard needs Python 3.11 or newer. Name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "The virtual environment could not be made. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.python requirements.txt
	@echo "Installing what Taskyard needs into $(VENV) …"
	@$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@$(PIP) install -r requirements-dev.txt
	@touch $@

# What the tests need beside Python: Chromium and PostgreSQL's server programs.
parts:
	@sh .ci/parts

# Ringwatch: `make` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ringwatch-demo
EVENTS ?= 60000
FAULTS ?= tests/faults

.DEFAULT_GOAL := help
.PHONY: help install install-dev install-train run demo servers servers-down faults test test-train lint check fast format lock schema schema-release audit bench bench-servers docs clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: install ## Simulate a marketplace, find its rings, and serve them until Ctrl-C
	@$(BIN)/ringwatch demo --data-dir $(DATA) --events $(EVENTS) --serve

demo: install ## The same as make run, but end by itself
	@$(BIN)/ringwatch demo --data-dir $(DATA) --events $(EVENTS)

servers: install ## Start Neo4j, Kafka, Redis and PostgreSQL on this machine, without containers
	@$(BIN)/ringwatch servers up

servers-down: install ## Stop them
	@$(BIN)/ringwatch servers down

faults: install-dev ## The fault tests against real servers (minutes)
	$(BIN)/pytest -q $(FAULTS)

test: install-dev ## All tests but the fault tests, with coverage of at least 80 % (coverage report tells)
	$(BIN)/pytest -q -n auto --dist loadfile --ignore=tests/faults --cov --cov-report= --cov-fail-under=80

lint: install-dev ## Format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint ## The same, architecture and fast tests: minutes
	$(BIN)/pytest -q -x -n auto -m "not slow and not backends" tests/unit tests/contract tests/architecture

install: $(VENV)/.installed ## Create .venv and install Ringwatch with its locked dependencies

install-dev: $(VENV)/.installed-dev ## The same, with what tests and checks need

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 run"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m scorers.warm
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

install-train: install-dev $(VENV)/.installed-train ## The same, with torch (gigabytes), for graph networks

$(VENV)/.installed-train: requirements-train.lock | $(VENV)/.installed-dev
	@$(BIN)/python -c 'import torch, torch_geometric' 2>/dev/null || \
	  $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-train.lock
	@touch $@

test-train: install-train ## The tests that need torch
	$(BIN)/pytest -q -n auto --dist loadfile tests/unit/test_gnn.py tests/unit/test_gnn_removal.py tests/unit/test_gnn_training.py tests/unit/test_model_network.py \
	  tests/unit/test_train_network.py tests/unit/test_train_models.py tests/unit/test_evaluate.py

format: install-dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: ## Print the GraphQL schema anew
	$(BIN)/python -c 'from api.graphql.query import schema; print(schema.as_str())' > api/schema.graphql

schema-release: schema ## Take what the GraphQL schema is now for what is promised to callers
	cp api/schema.graphql api/schema.released.graphql

lock: ## Resolve dependencies anew into the lock files (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header --extra build pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header --extra build --extra dev pyproject.toml -c requirements.lock -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header --extra train pyproject.toml -c requirements.lock -c requirements-dev.lock -o requirements-train.lock

audit: install-dev ## Look the locked dependencies up in the advisory database
	@$(BIN)/pip-audit -r requirements.lock --disable-pip --require-hashes --progress-spinner off \
	  || echo "audit: not clean, or the advisory database cannot be reached"

bench: install ## Throughput and latency of the embedded pipeline
	$(BIN)/python bench/embedded.py
	$(BIN)/python bench/graph_growth.py
	$(BIN)/python bench/rings_growth.py
	$(BIN)/python bench/api_load.py --rate 100 300 500
	$(BIN)/python bench/patterns.py

bench-servers: install ## Load and growth on the four real servers (tens of minutes)
	$(BIN)/python bench/kafka_load.py
	$(BIN)/python bench/http_load.py
	$(BIN)/python bench/state_redis.py
	$(BIN)/python bench/graph_growth.py --store own

docs: install-dev ## Write the documents that are generated from code
	$(BIN)/python -m features.document > docs/features.md
	$(BIN)/python -m bus.schema

clean: ## Remove the environment and the demo's data
	rm -rf $(VENV) ringwatch-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# What a person types. Each target is one line of work; the work itself lives in the rooms.
SHELL := /bin/bash
PYTHON := .venv/bin/python
UV := $(shell command -v uv || echo .venv-tools/bin/uv)

.DEFAULT_GOAL := help
.PHONY: help bootstrap run test check prove simulate bench soak lock packages proto clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

bootstrap: ## Install what is missing: system packages, uv, .venv
	@deploy/local/bootstrap.sh

run: bootstrap ## Start the servers and every actor
	@.venv/bin/aionctl up || [[ $$? == 130 ]]

test: bootstrap check ## Check, then run every test
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not alone"  # these wait more than they work
	$(PYTHON) -m pytest -m alone

check: bootstrap ## Lint, format, types, import contracts, drift of schemas, API and protobuf
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) -m schemas.export --check
	$(PYTHON) -m edge.openapi --check
	proto/generate.sh --check

prove: bootstrap ## Break a whole installation for three minutes and judge what is left; PROVE="--seed 7 --json"
	PYTHONPATH=tests/faults $(PYTHON) -m prove $(PROVE)

SEEDS := 10000
START := 0
JOBS := $(shell nproc)
simulate: bootstrap ## Play 10,000 seeds of crashes in virtual time (SEEDS= START= JOBS=)
	PYTHONPATH=.:tests/faults $(PYTHON) -m simulation --seeds $(SEEDS) --start $(START) --jobs $(JOBS)

bench: bootstrap ## Measure, as ratios against a floor of the same run
	$(PYTHON) -m benchmarks

soak: bootstrap ## Half of saturation for half an hour: whatever grows is found; SOAK="--minutes 10 --json"
	$(PYTHON) -m benchmarks.soak $(SOAK)

lock: ## Resolve pyproject.toml into requirements.lock
	$(UV) pip compile -q --universal --generate-hashes --no-annotate --no-header --all-extras --group dev \
	  pyproject.toml -o requirements.lock

packages: bootstrap ## Build the agent packages from their sources
	$(PYTHON) -m executors.wasm.build

proto: bootstrap ## Generate the Python code of proto/aion
	proto/generate.sh

clean: ## Stop the development servers; remove their data, the caches and .venv
	@if [[ -x $(PYTHON) ]]; then $(PYTHON) -c 'from deploy.local import remove; remove()'; fi
	rm -rf var build dist .venv .venv-tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

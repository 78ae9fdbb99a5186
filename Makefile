# The two commands of the README are `make demo` and `make test`; each does all the set-up it needs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: help demo test check lint types floors setup setup-dev clean
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# the stamps depend on what they installed from, so a changed pin re-installs and nothing else does
$(VENV)/.core: pyproject.toml requirements/lock.txt
	@command -v $(PYTHON) >/dev/null || { echo "wardround needs CPython 3.11: set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check setuptools wheel
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -c requirements/lock.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install -q --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -c requirements/lock.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.core  ## venv with the pinned run-time dependencies
setup-dev: $(VENV)/.dev  ## ... and the ones for tests (PyTorch's CPU build among them)

demo: setup  ## the main job on embedded data: a federated intrusion detector, trained, measured and shown
	$(BIN)/wardround simulate experiments/demo.toml

test: setup-dev  ## all tests (under 12 minutes on 2 cores)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup-dev
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench

types: setup-dev
	$(BIN)/mypy

floors: setup-dev
	$(BIN)/lint-imports

check: lint types floors test  ## what CI runs, and lint, strict types and import floors before it

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

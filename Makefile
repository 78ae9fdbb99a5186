# The two commands of the README are `make demo` and `make test`; each does all the set-up it needs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
SHELL := /bin/bash
export PATH := $(PATH):/usr/sbin

.PHONY: help demo test kills netfaults flower check lint types floors docs setup setup-dev setup-broker bench netlab fuzz clean
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# the stamps depend on what they installed from, so a changed pin installs again and nothing else does
$(VENV)/.core: pyproject.toml requirements/lock.txt
	@command -v $(PYTHON) >/dev/null || { echo "wardround needs CPython 3.11: set PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up $(VENV) (once; a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) setuptools==84.2.1 wheel==0.48.0
	@$(PIP) --no-build-isolation -c requirements/lock.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "adding what the tests need (PyTorch's CPU build, Flower, test tools)"
	@$(PIP) torch==2.13.0
	@$(PIP) --no-build-isolation -c requirements/lock.txt -e '.[dev,flower]'
	@touch $@

setup: $(VENV)/.core  ## venv with the pinned run-time dependencies
setup-dev: $(VENV)/.dev  ## ... and what the tests need

# tests of the real federation start a broker of their own; without one they skip and say so
setup-broker:
	@command -v nats-server >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq nats-server >/dev/null; } || echo "no nats-server: tests of the real federation will be skipped"

demo: setup  ## the main job on embedded data: a federated intrusion detector, trained, measured and shown
	$(BIN)/wardround simulate experiments/demo.toml

test: setup-dev setup-broker  ## all tests (under 12 minutes on 2 cores)
	$(BIN)/python -m pytest -n 2 --dist worksteal

kills: setup-dev setup-broker  ## the longer suite of kill -9 against real processes, and every model under the lattice sum
	WARDROUND_KILLS=40 $(BIN)/python -m pytest tests/e2e/test_e2e_nats.py tests/e2e/test_e2e_secure.py -k "kill_9 or secure or die"

netfaults: setup-dev setup-broker  ## loss, delay, partitions, a dead broker, a full disk, a cluster that loses a broker, under real processes (root)
	WARDROUND_NETFAULTS=1 $(BIN)/python -m pytest -s tests/e2e/test_e2e_netfaults.py tests/e2e/test_e2e_cluster.py

flower: setup-dev  ## a federation with both layers on Flower's own engine, killed and taken up again (several minutes)
	WARDROUND_FLOWER=1 $(BIN)/python -m pytest -s tests/e2e/test_e2e_flower.py

lint: setup-dev
	$(BIN)/ruff format --check src tests bench docs fuzz
	$(BIN)/ruff check src tests bench docs fuzz

types: setup-dev
	$(BIN)/mypy

floors: setup-dev
	$(BIN)/lint-imports

docs: setup-dev  ## print the generated pages again
	$(BIN)/python docs/generate.py
	$(BIN)/python bench/write_results.py

check: lint types floors test  ## what CI runs, with lint, strict types and import floors before it

bench: setup-dev  ## speed and quality figures (an hour on two cores; real data in WARDROUND_DATA)
	$(BIN)/python bench/simulation_speed.py
	$(BIN)/python bench/quality.py
	$(BIN)/python bench/write_results.py

NETLAB_MODEL ?= $(lastword $(sort $(wildcard runs/*-demo-s*/model/model.safetensors)))
NETLAB_JSON ?= netlab.json
netlab: setup  ## real attack tools in network namespaces under wardround watch (root; deploy/netlab/README.md)
	@test -n "$(NETLAB_MODEL)" || { echo "no model: run make demo first, or set NETLAB_MODEL"; exit 2; }
	$(BIN)/python deploy/netlab/netlab.py --model $(NETLAB_MODEL) --json $(NETLAB_JSON)

fuzz: setup-dev  ## every decoder (messages, captures, sensor logs) for a bounded time
	for target in fuzz/*.py; do $(BIN)/python $$target || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

# `make demo` and `make test` need nothing but a Python ≥ 3.11 with its venv module (Debian: apt install python3-venv).
# Everything is installed into .venv in this directory; stamps make later runs start at once.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-ray test-quick lint format bench bench-quick bench-pandas bench-pandas-peers docs build clean

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.stamp-core
DEMO := $(VENV)/.stamp-demo
DEV := $(VENV)/.stamp-dev
RAY := .venv-ray/.stamp
RAY_VERSION := 2.60.*
PEER_modin := 'modin[ray]==0.37.*'
PEER_fireducks := 'fireducks==1.4.*'
PEER_bodo := 'bodo==2026.10'

# A virtual environment from the first Python that is new enough. PYTHON=/path/to/python chooses another.
define make_venv
	@if [ ! -x $(1)/bin/python ]; then \
	  for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "no Python 3.11 or later was found; install one, or say: make PYTHON=/path/to/python" >&2; exit 1; fi; \
	  echo "creating $(1) with $$($$found --version)"; \
	  $$found -m venv $(1) || { echo "the venv module is missing; on Debian: apt install python3-venv" >&2; rm -rf $(1); exit 1; }; \
	fi
endef

help:
	@echo "make demo         every core at work on real text, beside the serial run"
	@echo "make test         all tests (make test-quick: without the slow ones)"
	@echo "make test-ray     more tests of the Ray backend, on clusters of several nodes"
	@echo "make lint         ruff, mypy, import-linter"
	@echo "make bench        the benchmark table, beside Ray and the standard library; writes benchmarks/results/"
	@echo "make bench-pandas skate.pandas beside pandas, Modin, FireDucks, Bodo and Polars; writes benchmarks/results/"
	@echo "make docs         docs/reference from the docstrings"
	@echo "make clean        remove what the other targets made"

$(CORE): pyproject.toml
	$(call make_venv,$(VENV))
	@echo "installing skate into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV): pyproject.toml
	$(call make_venv,$(VENV))
	@echo "installing skate and its development tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(CORE) $@

$(RAY): Makefile
	$(call make_venv,.venv-ray)
	@echo "installing Ray into .venv-ray (about 200 MB)"
	@.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check 'ray==$(RAY_VERSION)' 'numpy>=1.26' \
	  || .venv-ray/bin/python -m pip install --quiet --disable-pip-version-check 'ray>=2.40,<3' 'numpy>=1.26'
	@touch $@

$(DEMO): pyproject.toml
	$(call make_venv,$(VENV))
	@echo "installing skate and what its demo shows (pandas, Polars, a data set) into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $(CORE) $@

demo: $(DEMO)
	@$(BIN)/skate demo

test: $(DEV)
	@tests/browser/install-chromium
	$(BIN)/python -m pytest tests --ignore=tests/ray

# Programs on Ray clusters of one node and of several, also with nodes in network namespaces: a few minutes, about 3 GB.
test-ray: $(DEV)
	$(BIN)/python -m pytest tests/conformance --backend=ray
	$(BIN)/python -m pytest tests/ray --backend=ray

test-quick: $(DEV)
	@tests/browser/install-chromium
	$(BIN)/python -m pytest tests -m "not slow"

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) $(RAY)
	$(BIN)/python -m benchmarks.engine

bench-quick: $(DEV)
	$(BIN)/python -m benchmarks.engine --quick --peers pool,executor,joblib,socket,memcpy

# Each in an environment of its own: they pin versions of pandas that differ.
.venv-peers/%/.stamp: Makefile
	$(call make_venv,.venv-peers/$*)
	@echo "installing $* into .venv-peers/$*"
	@.venv-peers/$*/bin/python -m pip install --quiet --disable-pip-version-check $(PEER_$*) pyarrow
	@touch $@

bench-pandas-peers: .venv-peers/modin/.stamp .venv-peers/fireducks/.stamp .venv-peers/bodo/.stamp

bench-pandas: $(DEV) bench-pandas-peers
	$(BIN)/python -m benchmarks.pandas

docs: $(DEV)
	$(BIN)/python docs/make_reference.py

build: $(DEV)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf .venv .venv-ray .venv-peers dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

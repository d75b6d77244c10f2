# Every target makes the environment it needs; a second call installs nothing.
VENV ?= .venv
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3.11 python3)

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RECIPES := pyproject.toml constraints.txt hatch_build.py $(wildcard src/lowland/_native/*.[ch])

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench docs clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed-all ## train on real digits, ask, and write demo/report.html
	$(BIN)/lowland demo --out demo

test: $(VENV)/.installed-dev ## run the tests, the examples in docstrings and those in the documents
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.installed-dev ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## run every workload in benchmarks/ against its peers
	@set -e; for workload in benchmarks/[a-z]*.py; do $(BIN)/python "$$workload"; done

docs: $(VENV)/.installed-docs ## build the documentation into docs/_build
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build

clean: ## remove what these targets made, the environment included
	rm -rf $(VENV) demo docs/_build build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed-%: $(RECIPES) | $(BIN)/python
	$(PIP_INSTALL) -e '.[$*]'
	@touch $@

.PRECIOUS: $(VENV)/.installed-%

$(BIN)/python:
	@set -e; \
	for candidate in $(CANDIDATES); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(VENV) with $$candidate; the first installation takes some minutes."; \
			exec "$$candidate" -m venv "$(VENV)"; \
		fi; \
	done; \
	echo "lowland needs Python 3.11 or newer, which was not found as: $(CANDIDATES)." >&2; \
	echo "Install one, or name it: make test PYTHON=/path/to/python3.12" >&2; \
	exit 1

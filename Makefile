PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install train test trials slow faults check lint types contracts

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --config-settings editable_mode=compat --editable '.[dev]'
	touch $@

train: install
	$(BIN)/python cli.py train --dataset pbs

test: install
	$(BIN)/python -m pytest

trials: install
	$(BIN)/python -m pytest -m trials

slow: install
	$(BIN)/python -m pytest -m slow

faults: install
	$(BIN)/python -m pytest -m faults

check: lint types contracts

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

contracts: install
	$(BIN)/lint-imports

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# no training, no server, no browser
QUICK := tests/annotations tests/nn/test_scores.py tests/nn/test_losses.py tests/nn/test_metrics.py tests/pipeline/test_table.py \
	tests/test_artifacts.py tests/test_config.py tests/test_disk.py tests/test_language.py tests/test_bad_inputs.py
STAMP := $(VENV)/.installed

.PHONY: install train test quick trials slow faults check lint types contracts

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --config-settings editable_mode=compat --editable '.[dev]'
	touch $@

train: install
	$(BIN)/python cli.py train --dataset pbs

test: install
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

quick: install
	$(BIN)/python -m pytest $(QUICK)

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

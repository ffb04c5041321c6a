# `make demo`, `make test` and `make prove` work on a fresh clone; nothing else has to be installed.
PYTHON ?= python3
BIN := .venv/bin
# Where a CUDA build of torch is wanted, install it into .venv before (see README).
PIP := $(BIN)/pip --disable-pip-version-check install -qq --constraint infra/constraints.txt

.PHONY: install demo test prove lint clean

install: .venv/.installed

.venv/.installed: pyproject.toml infra/constraints.txt
	@echo "installing into .venv (a minute or two the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: install
	@$(BIN)/reactdist demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy reactdist

test: lint
	$(BIN)/pytest -m "not slow"

prove: install
	$(BIN)/pytest -m slow

clean:
	rm -rf demo .mypy_cache .ruff_cache .pytest_cache .hypothesis build

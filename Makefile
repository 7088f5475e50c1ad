# `make demo` and `make test` do everything on a fresh machine: Python 3.11 or newer, make and the package registry.
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,$(shell $(name) -c 'import sys; print("$(name)" if (3, 11) <= sys.version_info[:2] <= (3, 13) else "")' 2>/dev/null)))
BIN := .venv/bin
# TORCH_INDEX names an index of torch builds to look at first, for example one without CUDA.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test lint clean

demo: .venv/installed
	$(BIN)/spotlight demo

test: .venv/installed-dev lint
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 is needed; none was found. Name one with: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing Spotlight into .venv (a few minutes the first time)"
	$(PIP) --editable .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing Spotlight and its test tools into .venv (a few minutes the first time)"
	$(PIP) --editable '.[dev]'
	@touch .venv/installed $@

clean:
	rm -rf .venv demo

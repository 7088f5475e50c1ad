# `make demo` and `make test` do everything on a fresh machine: Python 3.11 or newer, make and the package registry.
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,$(shell $(name) -c 'import sys; print("$(name)" if (3, 11) <= sys.version_info[:2] <= (3, 13) else "")' 2>/dev/null)))
BIN := .venv/bin
# TORCH_INDEX names an index of torch builds to look at first, for example one without CUDA.
PIP_OPTIONS := --disable-pip-version-check --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PIP := $(BIN)/python -m pip install $(PIP_OPTIONS) --constraint constraints.txt
# Dependency groups need pip 25.1.
NEW_PIP := --disable-pip-version-check --quiet --upgrade 'pip>=25.1'
TESTED := '.[cluster,czi,data,export,remote,tensorboard]' --group dev

.PHONY: demo test fast least lint clean

demo: .venv/installed
	$(BIN)/spotlight demo

test: .venv/installed-dev lint
	$(BIN)/python -m pytest

fast: .venv/installed-dev
	$(BIN)/python -m pytest -m "not slow"

# The fast tests with the least versions that pyproject.toml allows, whose own deprecations do not matter.
least: .venv-least/installed
	PYTHONWARNINGS=ignore .venv-least/bin/python -m pytest -m "not slow" -W ignore --override-ini addopts=--strict-markers -q

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
	$(BIN)/python -m pip install $(NEW_PIP)
	$(PIP) --editable $(TESTED)
	@touch .venv/installed $@

# Least versions exist as wheels for Python 3.11.
.venv-least/installed: pyproject.toml constraints.txt tools/least_versions.py
	@echo "Installing the least versions that are allowed into .venv-least (a few minutes the first time)"
	python3.11 -m venv .venv-least
	python3.11 tools/least_versions.py > .venv-least/constraints.txt
	.venv-least/bin/python -m pip install $(NEW_PIP)
	.venv-least/bin/python -m pip install $(PIP_OPTIONS) --constraint .venv-least/constraints.txt --editable $(TESTED)
	@touch $@

clean:
	rm -rf .venv .venv-least demo

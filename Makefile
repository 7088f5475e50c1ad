# `make demo` and `make test` do everything on a fresh machine: Python 3.11 or newer, make and the package registry.
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,$(shell $(name) -c 'import sys; print("$(name)" if (3, 11) <= sys.version_info[:2] <= (3, 13) else "")' 2>/dev/null)))
BIN := .venv/bin
# TORCH_INDEX names an index of torch builds to look at first, for example one without CUDA.
PIP_OPTIONS := --disable-pip-version-check --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PIP := $(BIN)/python -m pip install $(PIP_OPTIONS) --constraint constraints.txt
# Dependency groups need pip 25.1.
NEW_PIP := --disable-pip-version-check --quiet --upgrade 'pip>=25.1'
EXTRAS := cluster,czi,data,export,nd2,remote,tensorboard,tracking
TESTED := '.[$(EXTRAS)]' --group dev
# Tests run in two processes; JOBS=1 or JOBS=4 takes another number, and JOBS= none of its own. A file stays in one of them, so that what its tests share is made once.
PYTEST = $(if $(JOBS),OMP_NUM_THREADS=1) $(BIN)/python -m pytest $(if $(JOBS),-n $(JOBS) --dist loadfile)

.PHONY: demo test fast coverage least wheel-test lint docs notebooks clean

demo: .venv/installed
	$(BIN)/spotlight demo

test: JOBS ?= 2
test: .venv/installed-dev lint
	$(PYTEST)

fast: JOBS ?= 2
fast: .venv/installed-dev
	$(PYTEST) -m "not slow"

# Shows how much of the code all tests reach.
coverage: .venv/installed-dev
	$(PYTEST) --cov --cov-report=term:skip-covered

# The fast tests with the least versions that pyproject.toml allows, whose own deprecations do not matter. The wheels
# of these versions are for Python 3.11.
LEAST_PYTHON ?= python3.11
least: JOBS ?= 2
least: .venv-least/installed
	PYTHONWARNINGS=ignore $(subst $(BIN),.venv-least/bin,$(PYTEST)) -m "not slow" -W ignore --override-ini addopts=--strict-markers -q

# The fast tests against the built wheel, from a copy of the tests that src is out of reach of. The documents and the
# installation hints are of the clone: their tests need it.
wheel-test: .venv-wheel/installed
	rm -rf .venv-wheel/dist
	.venv-wheel/bin/python -m pip wheel --quiet --no-deps --wheel-dir .venv-wheel/dist .
	.venv-wheel/bin/python -m pip install --quiet --no-deps --force-reinstall .venv-wheel/dist/*.whl
	python=$(CURDIR)/.venv-wheel/bin/python && copy=$$(mktemp -d) && trap 'rm -r $$copy' EXIT && \
	cp -r tests docs *.md pyproject.toml $$copy && cd $$copy && \
	$(subst $(BIN)/python,$$python,$(PYTEST)) -m "not slow" --ignore tests/test_deploy.py --ignore tests/test_installation.py --ignore tests/test_documents.py

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src

# The site in site/; broken links and pages outside of the navigation are errors.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build
	@echo "Open site/index.html"

# The tutorials as Jupyter notebooks in notebooks/.
notebooks: .venv-docs/installed
	mkdir -p notebooks
	for page in docs/start.md docs/tutorials/*-*.md docs/tutorials/judge.md docs/tutorials/plate.md; do \
	.venv-docs/bin/python -m jupytext --quiet --to ipynb --output notebooks/$$(basename $$page .md).ipynb $$page || exit; done

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

.venv-least/installed: pyproject.toml constraints.txt tools/least_versions.py
	@echo "Installing the least versions that are allowed into .venv-least (a few minutes the first time)"
	$(LEAST_PYTHON) -m venv .venv-least
	$(LEAST_PYTHON) tools/least_versions.py $(EXTRAS) > .venv-least/constraints.txt
	.venv-least/bin/python -m pip install $(NEW_PIP)
	.venv-least/bin/python -m pip install $(PIP_OPTIONS) --constraint .venv-least/constraints.txt --editable $(TESTED)
	@touch $@

.venv-wheel/installed: pyproject.toml constraints.txt
	@echo "Installing what Spotlight needs into .venv-wheel (a few minutes the first time)"
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install $(NEW_PIP)
	.venv-wheel/bin/python -m pip install $(PIP_OPTIONS) --constraint constraints.txt $(TESTED)
	@touch $@

.venv-docs/installed: pyproject.toml
	@echo "Installing the tools of the site into .venv-docs"
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install $(NEW_PIP)
	.venv-docs/bin/python -m pip install $(PIP_OPTIONS) --group docs
	@touch $@

clean:
	rm -rf .venv .venv-docs .venv-least .venv-wheel demo notebooks site

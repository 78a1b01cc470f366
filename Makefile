# make demo | make test | make lint | make clean: nothing is needed but Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint format schema docs peers clean

demo: $(VENV)/.base  ## install, then search networks for handwritten digits (about a minute)
	$(BIN)/python -m search.run studies/digits.yaml
	$(BIN)/python -m search.export studies/digits.yaml best

test: $(VENV)/.dev  ## install, then run all tests that CI runs
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not slow"

lint: $(VENV)/.dev  ## what CI checks besides the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/.base  ## the JSON Schema and the reference of study files, from the types that check them
	$(BIN)/python -m search.run --schema > studies/study.schema.json
	$(BIN)/python -m search.reference > docs/study_file.md

docs: $(VENV)/.dev  ## the documentation as a site in docs/_build; a link that leads nowhere is an error
	$(BIN)/sphinx-build -q -W --keep-going -n docs docs/_build

PEERS := $(patsubst benchmarks/peers/%.txt,.peers/%/.installed,$(wildcard benchmarks/peers/*.txt))
peers: $(PEERS)  ## other projects' searches, each in an environment of its own, for benchmarks.search

.peers/%/.installed: benchmarks/peers/%.txt
	$(PYTHON) -m venv .peers/$*
	.peers/$*/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "paretune needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.base: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.base

clean:  ## remove what demo and test made, the environment too
	rm -rf $(VENV) .peers build docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf paretune.db paretune.db-shm paretune.db-wal paretune.artifacts reports exports
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

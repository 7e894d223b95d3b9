# Each target sets up what it needs in .venv, once; `make clean` starts afresh.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# A run starts two dozen processes; without bytecode on disk each would compile all of our modules.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup demo test test-long test-fast chaos nodes board check format bench bench-matrix clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python %d.%d is too old; use PYTHON=python3.11 or newer" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -W ignore -c 'import ray_jobs.driver.preload'  # what is compiled once is compiled here: modules and numba's loops
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/headrace run -c demo

# Three files at a time, those with real runs first, for they take longest: on two cores a run often waits.
test: $(STAMP)
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m 'not long'

test-long: $(STAMP)
	$(BIN)/python -m pytest -q -m long

test-fast: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 -m 'not ray and not slow and not long'

chaos: $(STAMP)  # for example: make chaos SEED=1 KILLS=200
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --kills $(or $(KILLS),200) --parallel $(or $(PARALLEL),1) $(if $(HANG),--hang)

nodes: $(STAMP)  # needs root, for network namespaces; make nodes SCENES=cut plays one scene
	$(BIN)/python -m tests.nodes $(SCENES)

board: $(STAMP)  # every rule of the house that a program can count
	$(BIN)/python -m tests.board

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-matrix: $(STAMP)
	$(BIN)/python -m benchmarks.matrix

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

# `make test` and `make check` work in a fresh clone: they make .venv first.
PYTHON := .venv/bin/python
export BNSWEEP_EXTRAS := dev,postgres,remote,timm

.PHONY: setup fmt lint types imports quick test test-all smoke wheel check docker test-docker bench soak

setup:  ## .venv with what developers need
	@./bnsweep --version

fmt: setup  ## rewrite the code in the house style
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint: setup
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	.venv/bin/shellcheck bnsweep .ci/run

types: setup
	$(PYTHON) -m mypy

imports: setup  ## who may import what (pyproject.toml)
	.venv/bin/lint-imports

quick: setup  ## in a minute: what starts no processes and trains next to nothing
	$(PYTHON) -m pytest -n 2 -m unit

# Two at a time, then those that start Ray and servers, which need the cores for themselves.
test: setup  ## the whole suite; what needs a GPU, root or a container engine skips and says so
	$(PYTHON) -m pytest -n 2 -m "not processes" $(COVERAGE)
	$(PYTHON) -m pytest -m processes $(if $(COVERAGE),$(COVERAGE) --cov-append)

test-all: test bench soak  ## also what takes long

smoke: setup  ## the README's first sweep
	./bnsweep launch sweeps/quickstart.yaml -y

wheel: setup
	rm -rf build
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

check: COVERAGE := --cov --cov-report= --cov-fail-under=0
check: lint types imports test  ## what CI runs; the floor of the coverage is in pyproject.toml
	$(PYTHON) -m coverage report --skip-covered

docker: setup  ## the files in docker/, without an engine
	$(PYTHON) -m pytest tests/docker

test-docker:  ## docker/compose.yaml on a real engine, with a worker and MLflow killed on the way
	tests/docker/stack.sh

bench: setup  ## each case beside its baseline; BENCH="--only packs --rounds 3"
	$(PYTHON) tests/benchmarks/run.py $(BENCH)

SOAK ?= 50
soak: setup  ## random schedules of faults, SOAK of them
	BNSWEEP_SOAK=$(SOAK) $(PYTHON) -m pytest tests/faults/test_schedules.py

# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it lacks. `make env PYTHON=python3.12` chooses the Python of a new .venv.
PYTHON ?= python3
VENV ?= .venv
# a PYTHON that was asked for replaces the .venv of another version; the default keeps it
EXACT = $(if $(filter file,$(origin PYTHON)),,--exact)
RUN = . $(VENV)/bin/activate &&
# what the network is timed on; the other options of benchmarks/model_latency.py come in BENCH
DEVICE ?= $(if $(shell command -v nvidia-smi),cuda,cpu)
export PYTHONUNBUFFERED = 1

.PHONY: help env demo test lint bench bench-model clean

help:
	@echo 'make env      set up $(VENV): ROS 2 (unless one is sourced), packages, our interfaces'
	@echo 'make demo     simulate a robot, give it instructions, show what happened; DEMO="--help"'
	@echo 'make test     run every test; TEST="-k words" selects'
	@echo 'make lint     ruff: rules and format'
	@echo 'make bench    run every file of benchmarks/'
	@echo 'make bench-model   time the network: DEVICE=cuda|cpu BENCH="--views 1 2 3 --dtype bf16 fp8"'
	@echo 'make clean    remove $(VENV) and everything built'

env:
	@$(PYTHON) tools/prepare_environment.py --venv $(VENV) $(EXACT)

demo: env
	@$(RUN) dm0 demo $(DEMO)

# A graph of nodes runs in real time and has the machine for itself; all other tests share the cores.
test: env
ifdef TEST
	@$(RUN) python -m pytest -q $(TEST)
else
	@$(RUN) python -m pytest -q --ignore=test/graph -n auto --maxprocesses=4; rest=$$?; \
	python -m pytest -q test/graph && exit $$rest
endif

lint: env
	@$(RUN) ruff check . && ruff format --check .

bench: env
	@$(RUN) set -e; for file in benchmarks/*.py; do echo "== $$file"; python $$file; done

bench-model: env
	@$(RUN) python benchmarks/model_latency.py --device $(DEVICE) $(BENCH)

clean:
	rm -rf $(VENV) build install log dist *.egg-info

# Every target makes what it needs: the first run builds .venv, the next ones find it there.
PYTHON ?= python3
RUN := .venv/bin/python
PYTEST := $(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --editable

.PHONY: demo test test-slow check bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo: .venv/examples.stamp ## train on digits, write what it saw to demo/
	$(RUN) examples/digits.py --out demo

test: .venv/dev.stamp ## everything but the slow tests; ARGS="-k schedule" narrows it
	$(PYTEST) $(ARGS)

test-slow: .venv/dev.stamp ## everything
	$(PYTEST) -m "" $(ARGS)

check: .venv/dev.stamp ## style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy --strict learnkit

bench: .venv/dev.stamp ## loop, import, data, inference, checkpoints; results as JSON in benchmarks/results/
	$(RUN) -m benchmarks.loop_overhead
	$(RUN) -m benchmarks.import_time
	$(RUN) -m benchmarks.augmentation
	$(RUN) -m benchmarks.pipeline
	$(RUN) -m benchmarks.decoders
	$(RUN) -m benchmarks.inference
	$(RUN) -m benchmarks.checkpoints

clean: ## all that these targets made
	rm -rf .venv demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache benchmarks/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is younger than the files that say what to install: nothing is installed twice.
.venv/made.stamp:
	@$(PYTHON) -c 'import sys; sys.exit("learnkit needs Python 3.11.4 or newer: make PYTHON=python3.11 ..." if sys.version_info < (3, 11, 4) else 0)'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/%.stamp: .venv/made.stamp setup.cfg pyproject.toml
	@echo "Installing learnkit[$*] into .venv: once, a few minutes where torch has to be fetched"
	$(INSTALL) ".[$*]"
	@touch $@

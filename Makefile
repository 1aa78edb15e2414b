# Every target makes what it needs: the first run builds .venv, the next ones find it there.
PYTHON ?= python3
RUN := .venv/bin/python
# Hundreds of tests start a process of their own: bytecode is kept for them, also where the environment says otherwise.
PYTEST := PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
FINDS_ALL = $(PYTHON) -c 'import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))' \
	fastprogress jinja2 matplotlib numpy pandas PIL pytest safetensors torch torchvision
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --editable

.PHONY: help demo test test-slow pages check docs pictures dist bench gpu clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

demo: .venv/examples.stamp ## train on digits, write what it saw to demo/
	$(RUN) examples/digits.py --out demo

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile

test: .venv/dev.stamp ## everything but the slow tests; ARGS="-k schedule" narrows it
	$(PYTEST) $(ARGS)

test-slow: .venv/dev.stamp ## everything
	$(PYTEST) -m "" $(ARGS)

pages: .venv/dev.stamp ## the code of all pages
	$(PYTEST) -m "" tests/test_pages.py $(ARGS)

check: .venv/dev.stamp ## style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy --strict learnkit

docs: .venv/docs.stamp ## the site, in build/docs; ARGS="-t online" looks other projects' pages up, "-b linkcheck" their links
	$(RUN) -m sphinx -W --keep-going -j auto -q -d build/doctrees docs build/docs $(ARGS)
	$(RUN) -m sphinx -W --keep-going -j auto -q -d build/doctrees -b markdown docs build/docs
	$(RUN) docs/extensions/twins.py build/docs

pictures: .venv/dev.stamp ## the pictures of the questions' pages, written again by their code
	$(RUN) docs/run_pages.py --pictures docs/questions/*.md

# What the wheel depends on is borrowed from .venv, learnkit itself is not.
dist: .venv/dev.stamp ## the sdist and the wheel made from it, in dist/, a try of the wheel in an environment of its own, and its types
	rm -rf dist build/clean
	$(RUN) -m build --no-isolation
	$(RUN) -m venv --without-pip build/clean
	$(RUN) -m pip --python build/clean install --quiet --no-deps --no-index dist/*.whl
	$(RUN) -c 'import pathlib, torch; clean = next(pathlib.Path("build/clean").rglob("site-packages")); \
		(clean / "borrowed.pth").write_text(str(pathlib.Path(torch.__file__).parents[1]))'
	build/clean/bin/python -I .ci/try_wheel.py
	PATH="$(CURDIR)/build/clean/bin:$$PATH" $(RUN) .ci/check_types.py

bench: .venv/dev.stamp ## one table of all measurements, also in benchmarks/results/; ARGS="--quick" to see that it runs
	$(RUN) -m benchmarks $(ARGS)

# A GPU machine often has no network but the packages: those of PYTHON are used if all that is needed is there.
gpu: ## the tests that need a GPU, then benchmarks/gpu.py; ARGS="--cifar DIR" for accuracies, too
	@$(FINDS_ALL) || $(MAKE) .venv/dev.stamp
	@run=$$($(FINDS_ALL) && echo $(PYTHON) || echo $(RUN)); \
	$$run -m pytest -p no:cacheprovider -m gpu tests/gpu && $$run -m benchmarks.gpu $(ARGS)

clean: ## remove all that these targets made
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

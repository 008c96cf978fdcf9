# Everything runs in a virtual environment of its own; all that is needed is Python >= 3.11 and make.
#
#   make demo [ARGS="--crash"]     make test [ARGS="tests/unit -x"]     make help
#
# PYTHON=... picks the interpreter the environment is made from, VENV=... where it lives
# (make test PYTHON=python3.12 VENV=.venv-3.12). JOBS=... is how many files of tests run at the same time: tests wait a
# lot, so twice as many as there are cores. For a debugger: JOBS=0.

PYTHON ?=
VENV ?= .venv
ARGS ?=
JOBS ?= 4
SUITE ?= --quick

CANDIDATES := python3.13 python3.14 python3.12 python3.11 python3 python3.15 python
# Asked by running it: a name on the path may be a shim for a version that is not there.
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
# A module is compiled when it is first imported: of what is installed, most never is.
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile

# Import times are part of what is tested, so compiled modules are kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test coverage lint format hooks docs package bench bars suite soak mutants clean

help:
	@echo "make demo    run the demonstration (options: ARGS=\"--crash\", ARGS=\"--cancel-after 2\")"
	@echo "make test    run the whole test suite (a part of it: ARGS=\"tests/unit\")"
	@echo "make coverage  the suite with branch coverage, workers included; fails below the floor"
	@echo "make lint    ruff, codespell, mypy, pyright and the import floors"
	@echo "make format  let ruff rewrite what it can"
	@echo "make hooks   run the fast linters before each commit from now on (pre-commit)"
	@echo "make docs    build the documentation, warnings are errors"
	@echo "make package build the wheel and the source package into dist/, and check them"
	@echo "make bench   both of the next two"
	@echo "make bars    other libraries' times, ours to theirs, and the bar beside each (ARGS=\"--quick --only calls\")"
	@echo "make suite   every model of concurrency on this machine: unified-exec bench (SUITE=\"--html report.html\")"
	@echo "make soak    random work, cancels and kills for as long as you like (ARGS=\"--tasks 1000000\")"
	@echo "make mutants break every clause of the contract, one place at a time, and see its tests fail (ARGS=\"--clause 3\")"
	@echo "make install all that test, lint and docs need, so that they can run at the same time"
	@echo "make clean   remove the environment and everything built"

install: $(VENV)/.stamp-install

demo: $(VENV)/.stamp-demo
	@$(BIN)/python -m unified_exec demo $(ARGS)

test: $(VENV)/.stamp-test
	@echo "== pytest $(ARGS)"
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --max-worker-restart 0 $(ARGS)

coverage: $(VENV)/.stamp-test
	@echo "== pytest under coverage $(ARGS)"
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest -n $(JOBS) --dist loadfile --max-worker-restart 0 $(ARGS)
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report

soak: $(VENV)/.stamp-test
	@echo "== soak $(ARGS)"
	@$(BIN)/python -m benchmarks.soak $(ARGS)

mutants: $(VENV)/.stamp-test
	@echo "== mutants $(ARGS)"
	@$(BIN)/python -m tests.mutants $(ARGS)

lint: $(VENV)/.stamp-lint
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== codespell"
	@$(BIN)/codespell
	@echo "== mypy --strict"
	@$(BIN)/mypy --strict
	@echo "== pyright: the public names and tests/typing"
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	@echo "== import-linter: the floors"
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.stamp-lint
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

hooks: $(VENV)/.stamp-lint
	@$(BIN)/pre-commit install

docs: $(VENV)/.stamp-docs
	@echo "== sphinx-build"
	@$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

package: $(VENV)/.stamp-package
	@echo "== build"
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist . >/dev/null
	@$(BIN)/python -m twine check --strict dist/*

bench: bars suite

bars: $(VENV)/.stamp-benchmarks
	@echo "== benchmarks against other libraries, with their bars $(ARGS)"
	@$(BIN)/python -m benchmarks $(ARGS)

suite: $(VENV)/.stamp-benchmarks
	@echo "== unified-exec bench $(SUITE)"
	@$(BIN)/python -m unified_exec bench $(SUITE)

clean:
	rm -rf $(VENV) build dist .coverage .coverage.* docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than pyproject.toml once what it names is installed, so that a second run starts at once.

$(VENV)/.stamp-python:
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	    for candidate in $(CANDIDATES); do \
	        if "$$candidate" -c "$(USABLE)" >/dev/null 2>&1; then python="$$candidate"; break; fi; \
	    done; \
	fi; \
	if [ -z "$$python" ] || ! "$$python" -c "$(USABLE)"; then \
	    echo "No Python 3.11 or later with venv and ensurepip found$${python:+ ($$python was asked for)}." >&2; \
	    echo "Install one (on Debian and its kin also the package python3-venv), or name it: make PYTHON=/path/to/python" >&2; \
	    exit 1; \
	fi; \
	echo "== $(VENV): $$("$$python" -V)"; \
	"$$python" -m venv --clear "$(VENV)"
	@$(PIP) --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.stamp-demo: pyproject.toml $(VENV)/.stamp-python
	@echo "== installing unified-exec[demo]"
	@$(PIP) -e ".[demo]"
	@touch $@

$(VENV)/.stamp-test $(VENV)/.stamp-lint $(VENV)/.stamp-docs $(VENV)/.stamp-package $(VENV)/.stamp-benchmarks: pyproject.toml $(VENV)/.stamp-python
	@echo "== installing unified-exec and what '$(patsubst .stamp-%,%,$(notdir $@))' needs"
	@$(PIP) -e . --group $(patsubst .stamp-%,%,$(notdir $@))
	@touch $@

# One run for all three: pip resolves once, and none of them installs anything later.
$(VENV)/.stamp-install: pyproject.toml $(VENV)/.stamp-python
	@echo "== installing unified-exec and what test, lint and docs need"
	@$(PIP) -e . --group dev
	@touch $(VENV)/.stamp-test $(VENV)/.stamp-lint $(VENV)/.stamp-docs $@

# The project's commands. `make` alone lists them.
#
# PYTHON=python3.12    the interpreter for the virtual environment (default: the first good one)
# PORT=8001            where `make demo` serves
# ARGS="-k order -x"   passed on to pytest, the benchmarks and the conformance run
# WORKERS=0            how many processes share the tests (default: one for each core; 0 for none)

VENV ?= .venv
PORT ?= 8000
ARGS ?=
WORKERS ?= auto

RUN = $(VENV)/bin/python
# Coverage is judged where all tests run: without arguments, and with every service there.
JUDGED = $(if $(strip $(ARGS)),,$(filter-out 0,$(REQUIRE_SERVICES)))
PYTEST = pytest -n $(WORKERS) --maxprocesses=8 --dist=worksteal $(if $(JUNIT),--junitxml=$(JUNIT)) $(if $(RERUNS),--reruns=$(RERUNS))
DOCS = .cache/docs
TEMPLATES = find tracing core carsales -name '*.html' -not -path '*/vendor/*'
# Python 3.12 and newer can watch lines without a trace function.
CORE = import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")
# Without arguments: those are pytest's.
SCRIPTS = $(if $(strip $(ARGS)),,sh scripts/javascript.sh test)
# When the command was given: the demo says how long all of it took.
STARTED := $(shell date +%s)
export PYTHON PORT STARTED JUNIT
# Compiled once, even where a container says never: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-all coverage lint format house types contracts docs conformance foreign audit matrix bench clean env env-dev

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: env ## Run CarSales: install, migrate, load the cars, simulate sales, serve on PORT
	@$(RUN) scripts/demo.py

test: env-dev ## Run the tests, the slow ones left out
	@PYTHONDEVMODE=1 $(RUN) -m $(PYTEST) -m "not slow" $(ARGS)
	@$(SCRIPTS)

test-fast: env-dev ## Run the quick tests that need no other process, browser or server
	@$(RUN) -m $(PYTEST) -m "not (slow or thorough or process or browser or services)" $(ARGS)
	@$(SCRIPTS)

test-all: env-dev ## Run all tests
	@PYTHONDEVMODE=1 $(RUN) -m $(PYTEST) $(ARGS)
	@$(SCRIPTS)

coverage: env-dev ## Run the tests that need no browser and say which lines they do not run
	@$(RUN) -m coverage erase
	@PYTHONDEVMODE=1 COVERAGE_CORE=$$($(RUN) -c '$(CORE)') $(RUN) -m coverage run -m $(PYTEST) --ignore=tests/browser $(ARGS)
	@$(RUN) -m coverage combine --quiet
	@$(RUN) -m coverage report $(if $(JUDGED),,--fail-under=0)

lint: env-dev ## Check style and templates
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(TEMPLATES) | xargs $(VENV)/bin/djade --target-version 5.2 --check
	@sh scripts/javascript.sh lint

format: env-dev ## Put code and templates into the house style
	$(RUN) -m ruff check --fix-only --quiet .
	$(RUN) -m ruff format .
	$(TEMPLATES) | xargs $(VENV)/bin/djade --target-version 5.2
	@sh scripts/javascript.sh format

house: env-dev ## Show rooms, files and functions of tracing, and refuse longer ones and retired names
	@$(RUN) scripts/house.py

types: env-dev ## Check types
	$(RUN) -m mypy
	@sh scripts/javascript.sh types

contracts: env-dev ## Check which package may import which
	$(VENV)/bin/lint-imports

docs: ## Build the site of the documents, strictly, and check its links
	@sh scripts/environment.sh $(DOCS)/environment requirements-docs.txt
	@$(DOCS)/environment/bin/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env --doctree-dir $(DOCS)/doctrees docs $(DOCS)/site
	@$(DOCS)/environment/bin/python scripts/site.py $(DOCS)/site
	@echo "$(DOCS)/site/index.html"

conformance: env-dev ## Run Django's own tests with tracing on (ARGS="--all")
	$(RUN) tests/conformance/run.py $(ARGS)

foreign: env-dev ## Run other packages' tests with and without tracing (ARGS="reversion guardian")
	$(RUN) scripts/foreign.py $(ARGS)

audit: env-dev ## Lint the distributions, look for unsafe code and for known weaknesses
	$(RUN) scripts/audit.py

matrix: env-dev ## Run the tests on every Python, Django and database found
	$(RUN) -m nox $(ARGS)

bench: env-dev ## Measure what tracing costs
	$(RUN) -m benchmarks $(ARGS)

clean: ## Remove environments, caches and what the demo wrote
	rm -rf $(VENV) node_modules .nox .cache .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf .import_linter_cache build dist htmlcov logs var staticfiles tests/artifacts
	rm -f *.sqlite3 *.sqlite3-wal *.sqlite3-shm *.sqlite3-journal
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

env:
	@sh scripts/environment.sh $(VENV) requirements.txt

env-dev:
	@sh scripts/environment.sh $(VENV) requirements-dev.txt

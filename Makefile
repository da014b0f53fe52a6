# make demo, make test: both build .venv from requirements.lock first. PYTHON=... picks the interpreter (3.11 or newer).
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO ?= demo
# Measure on LFW where its aligned images lie beside the checkout, or where make demo LFW=DIR says.
LFW ?= $(patsubst %/,%,$(dir $(firstword $(wildcard ../shared/data/lfw_pairs.txt))))

.PHONY: help demo test check fmt lock

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 10

# Rebuilt when the lock or the project file changes; pip leaves what already fits.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "facewright needs Python 3.11 or newer; name one with make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)  ## the whole loop on the bundled models; look at demo/report.html afterwards
	$(BIN)/facewright demo --out $(DEMO) $(if $(LFW),--lfw $(LFW))

test: $(INSTALLED)  ## the tests that a change must pass
	$(BIN)/python -m pytest -m "not slow"

check: $(INSTALLED)  ## formatting, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(INSTALLED)  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Resolved in a fresh environment. Left out: what pip brings by itself on the platforms that need it (CUDA libraries),
# and the local part of a version (+cpu), so that the same lock installs anywhere.
lock:  ## resolve every dependency again and write requirements.lock
	@test -n "$(PYTHON)" || { echo "facewright needs Python 3.11 or newer; name one with make PYTHON=/path/to/python" >&2; exit 1; }
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --editable '.[dev]'
	{ echo '# Written by make lock: the exact versions of everything that facewright[dev] needs.'; \
	  build/lock/bin/python -m pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools \
	  | grep -viE '^(nvidia-|cuda-|triton=)' | sed 's/+[a-z0-9.]*$$//'; } > build/requirements.lock
	mv build/requirements.lock requirements.lock && rm -rf build/lock

# make demo       install what is needed into .venv, then run the workflow on config.yaml
# make test       install what is needed, then run the tests
# make test-slow  the tests that kill a run a dozen times
# make lint       check format, style and types of the Python and of the rules
# make install    only install
# make lock       rewrite requirements.lock and envs/ from the pins in pyproject.toml
# make clean      remove .venv and the caches of the tools; artifacts/ and results/ stay

SHELL := /bin/bash
.PHONY: demo test test-slow lint install lock clean
.DELETE_ON_ERROR:

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -qq
# The rules call `python`: it must be the one of the environment.
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

demo: install
	$(RUN) snakemake --cores all

# Two workers, a file's tests in one of them since they share what they ran. OpenMP's threads would spin while they
# wait, and take the cores from the other worker: training is ten times slower then.
test: install
	$(RUN) OMP_WAIT_POLICY=PASSIVE python -m pytest -n 2 --dist loadfile

test-slow: install
	$(RUN) OMP_WAIT_POLICY=PASSIVE python -m pytest -m slow

lint: install
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile rules
	$(RUN) snakemake --lint

install: $(VENV)/installed

# The environment holds what the lock says and nothing else: when the lock changes, it is made anew.
$(VENV)/locked: requirements.lock
	@for python in $(PYTHON) python3.11 python3 python; do \
	    "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2> /dev/null && break; \
	    python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "error: hardneg needs Python 3.11 with venv (on Debian and Ubuntu: python3.11-venv)."; \
	    echo "  found:    $$(python3 --version 2>&1)"; \
	    echo "  remedy:   install it, or name it: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11"; \
	    exit 1; \
	fi >&2; \
	echo "Installing the packages of requirements.lock into $(VENV) (2.5 GB or more, some minutes) ..."; \
	"$$python" -m venv --clear $(VENV)
	@$(PIP) install --no-compile --requirement requirements.lock
	@# Compiled here, on all cores, since each of the workflow's jobs is a process of its own; a few packages carry
	@# files that are no Python of this version, which nobody imports.
	@$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	@touch $@

$(VENV)/installed: $(VENV)/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(VENV)/bin/python -m compileall -q hardneg workflow_scripts
	@touch $@
	@echo "Installed hardneg into $(VENV)."

lock: install
	$(RUN) python envs/lock.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find hardneg workflow_scripts tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# make demo          install into .venv, then run the workflow on config.yaml
# make test          install, then run the tests
# make test-slow     install, then run the tests that kill a run a dozen times
# make test-cluster  install, then run the small study under a real Slurm on this machine (root, Debian's slurm-wlm, munge)
# make lint          check format, style, types and imports of the Python, and the rules
# make install       install only what the workflow needs
# make lock          rewrite the locks and envs/ from the ranges in pyproject.toml
# make clean         remove .venv and the caches of the tools; artifacts/ and results/ stay

SHELL := /bin/bash
.PHONY: demo test test-slow test-cluster lint install lock clean
.DELETE_ON_ERROR:

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -qq
# The rules call `python`, which must be the environment's.
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

demo: install
	$(RUN) snakemake --cores all

# Two workers; all tests of a file run in one of them, since they share results. Waiting OpenMP threads must not spin:
# they would take the cores from the other worker, and training would be ten times slower.
test: $(VENV)/developing
	$(RUN) OMP_WAIT_POLICY=PASSIVE python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/developing
	$(RUN) OMP_WAIT_POLICY=PASSIVE python -m pytest -m slow

test-cluster: $(VENV)/developing
	@$(PIP) install --constraint requirements.lock --constraint requirements-dev.lock 'snakemake-executor-plugin-slurm>=2.8.0,<3'
	$(RUN) OMP_WAIT_POLICY=PASSIVE python -m pytest -m cluster

lint: $(VENV)/developing
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) snakefmt --check Snakefile rules
	$(RUN) snakemake --lint

install: $(VENV)/installed

# The environment contains exactly the packages of the locks. When one changes, it is created again.
$(VENV)/locked: requirements.lock requirements-alone.lock
	@for python in $(PYTHON) python3.11 python3 python; do \
	    "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2> /dev/null && break; \
	    python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "error: hardneg needs Python 3.11 with venv (on Debian and Ubuntu: python3.11-venv)."; \
	    echo "  found:    $$(python3 --version 2>&1)"; \
	    echo "  remedy:   install it, or give its path: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python3.11"; \
	    exit 1; \
	fi >&2; \
	echo "Installing the packages of requirements.lock into $(VENV) (1.9 GB or more, some minutes) ..."; \
	"$$python" -m venv --clear $(VENV)
	@$(PIP) install --no-compile --requirement requirements.lock
	@$(PIP) install --no-compile --no-deps --requirement requirements-alone.lock
	@touch $@

$(VENV)/installed: $(VENV)/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(VENV)/bin/python envs/compile.py
	@touch $@
	@echo "Installed hardneg into $(VENV)."

$(VENV)/developing: $(VENV)/installed requirements-dev.lock
	@echo "Installing the developers' tools ..."
	@$(PIP) install --no-compile --requirement requirements-dev.lock --constraint requirements.lock
	@# A few packages contain files for other Python versions, which are never imported; their errors are ignored.
	@$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib > /dev/null 2>&1 || true
	@touch $@

lock: $(VENV)/developing
	$(RUN) python envs/lock.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find hardneg workflow_scripts snakemake_logger_plugin_hardneg tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

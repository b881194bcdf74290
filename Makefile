# make demo   install what is needed into .venv and run the workflow on config.yaml
# make test   install what is needed and run the tests
# make lint   formatting, lint and types of the Python and of the rules
# make lock   rewrite requirements.lock and envs/ from the pins in pyproject.toml
# make clean  remove .venv and the tools' caches; artifacts/ and results/ stay

.PHONY: install demo test lint lock clean
SHELL := /bin/bash
.DELETE_ON_ERROR:

VENV := .venv
# The rules call `python`: it has to be the one of the environment.
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
# No import bytecode is shared with other checkouts' settings, and no user's or system's packages get in.
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
PYTHON_CANDIDATES := $(PYTHON) python3.11 python3 python

install: $(VENV)/installed

demo: install
	$(RUN) snakemake --cores all

test: install
	$(RUN) python -m pytest -n 2 --dist loadfile

lint: install
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile rules
	$(RUN) snakemake --lint

lock: install
	$(RUN) python envs/lock.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

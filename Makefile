# Two commands do everything: `make demo` and `make test`. Both make their own .venv first.
PYTHON ?= python3
VENV := .venv
# most tests wait for a process: two cores keep six of them busy
WORKERS ?= 6
STAMP := $(VENV)/.installed

.PHONY: demo test bench docs lint clean

demo: $(STAMP)
	$(VENV)/bin/mirrord demo

test: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal

bench: $(STAMP)
	$(VENV)/bin/python -m bench

# docs/settings.md from the models and config.example.toml; the tests say when it is older than those
docs: $(STAMP)
	$(VENV)/bin/python -m docs.reference

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mirrord needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

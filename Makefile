# `make` lists what there is. Another Python: make test PYTHON=python3.12
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# mkdocs-material announces MkDocs 2 in a banner at every build.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: help demo test test-all check lint types pages docs format benchmarks clean
.DELETE_ON_ERROR:

help:
	@echo "make demo        show what sottovoce does, on this machine, without a network"
	@echo "make test        everything that must pass before a change lands"
	@echo "make test-all    the same with the slow tests"
	@echo "make docs        the documentation, into site/"
	@echo "make format      put the code into its format, and mend what ruff can mend"
	@echo "make benchmarks  what is in benchmarks/; with SPEECH=FOLDER, where speech-mini lies, also what needs recordings"
	@echo "make clean       remove what the commands above made, except $(VENV)/"

demo: $(VENV)/.ready-base
	$(BIN)/sottovoce demo --overwrite

# One thread a process: two processes with as many threads as the machine has cores are slower than with one each.
# And each takes files one after another, for what tests of a file share to be made once, until one has none left.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test: check
	$(PYTEST)

test-all: check
	$(PYTEST) -m ""

# Two at a time: pyright works on one core only.
check: $(VENV)/.ready-dev-docs
	@$(MAKE) --no-print-directory --output-sync -j 2 lint types pages

lint: $(VENV)/.ready-dev-docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev-docs
	$(BIN)/pyright

pages: $(VENV)/.ready-dev-docs
	$(MKDOCS)

docs: $(VENV)/.ready-dev-docs
	$(MKDOCS)
	@echo "open site/index.html"

format: $(VENV)/.ready-dev-docs
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmarks: $(VENV)/.ready-base
	$(BIN)/python benchmarks/lib/run.py $(if $(SPEECH),--speech "$(SPEECH)")

clean:
	rm -rf site build dist sottovoce-demo .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks docs -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@command -v "$(PYTHON)" >/dev/null || \
		{ echo "There is no command '$(PYTHON)'. Name a Python of 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sottovoce needs Python 3.11 or newer, and '$(PYTHON)' is" \
		"$$("$(PYTHON)" --version 2>&1). Name another: make PYTHON=python3.12 ..."; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# torch comes first and alone: then nothing that needs it can bring in another build of it.
$(VENV)/.ready-base: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	@echo "setting up $(VENV): minutes the first time, seconds after"
	$(PIP) -c constraints.txt torch
	$(PIP) -c constraints.txt -e ".[demo]"
	@touch $@

$(VENV)/.ready-dev-docs: $(VENV)/.ready-base
	$(PIP) -c constraints.txt -e ".[dev,docs]"
	@touch $@

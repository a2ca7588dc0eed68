# `make demo` and `make test`: each does everything from a fresh clone with Python 3.11, pip and make.
PYTHON ?= python3.11
BIN = .venv/bin
INSTALLED = .venv/installed

.PHONY: demo test check clean

# The main job, on the embedded sample: convert, pretrain, fine-tune, evaluate, package, install the wheels elsewhere and use them.
demo: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m spacy project run all

# Of these tests `make test` runs those that match; CI runs them all (MARKERS=).
MARKERS ?= not slow

# A process a core, and in each one thread: with more, tiny models wait for the other processes.
# What several threads may break is tested in processes that have them.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "$(MARKERS)" --numprocesses auto --maxprocesses 4 --dist worksteal --durations 15

# What CI adds to the tests.
check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-* build dist *.egg-info project/corpus project/training project/metrics project/packages project/reports

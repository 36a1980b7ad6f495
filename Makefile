# Everything a fresh machine needs besides Python 3.11+ and make. `make test` and `make demo` set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := $(VENV)/.package
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: setup browser test docs fuzz nightly oldest lint demo bench gpu clean

setup: $(STAMP)

# mossa alone. torch first and by its exact version: on machines that keep a CPU build at hand, nothing larger is fetched.
$(PACKAGE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $$(grep '^torch==' constraints.txt)
	$(PIP) -e .
	touch $(PACKAGE)

# and what tests, lint and documentation need
$(STAMP): $(PACKAGE)
	$(PIP) -e '.[test,lint,docs]'
	touch $(STAMP)

# Chromium and its driver, for the tests that open the report.
browser:
	scripts/install-browser.sh

# One thread per process: on small models threads only fight over cores.
test: setup browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Many more strange inputs than in `make test`; hours, and worth it now and then.
fuzz: setup
	MOSSA_FUZZ=$${MOSSA_FUZZ:-50} OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_fuzz.py tests/models/test_strange_adapters.py

# The tests that kill a run, with many more kills, and the simulations of intervals, with many more draws.
nightly: setup fuzz
	MOSSA_NIGHTLY=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/similarity tests/analysis
	MOSSA_KILLS=50 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/run/test_faults.py

# The tests with the oldest versions that pyproject.toml allows, in an environment of their own.
oldest: browser
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet $$(grep '^torch==' constraints-oldest.txt)
	.venv-oldest/bin/python -m pip install --quiet -c constraints-oldest.txt -e '.[test]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n 2 --dist loadfile -W default

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The documentation, to be opened at docs/_build/html/index.html; a warning is an error.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

# A whole study on the embedded collection; ends by printing where the report is.
demo: $(PACKAGE)
	$(BIN)/mossa run demo

# Every benchmark for the CPU, with the peers it compares with; JSON in runs/bench. BENCH_TASKS: a folder of *.jsonl.
bench: setup
	$(PIP) -e '.[bench]'
	$(BIN)/python benchmarks/similarity.py --json runs/bench/similarity.json
	$(BIN)/python benchmarks/extraction.py $(BENCH_TASKS) --json runs/bench/extraction.json
	$(BIN)/python benchmarks/training.py $(BENCH_TASKS) --json runs/bench/training.json
	$(BIN)/python benchmarks/data_parallel.py $(BENCH_TASKS) --json runs/bench/data_parallel.json
	$(BIN)/python benchmarks/study.py --threads 2 --json runs/bench/study.json
	$(BIN)/python benchmarks/growth.py --json runs/bench/growth.json
	$(BIN)/python benchmarks/scaling.py

# What a machine with a GPU should tell, about 30 minutes; goes on where it stopped. Such a machine may be bare, so nothing
# is set up: `$(PYTHON)` needs torch, transformers and mossa with what it depends on.
gpu:
	$(PYTHON) benchmarks/gpu_day.py --out runs/gpu

clean:
	rm -rf $(VENV) .venv-oldest runs

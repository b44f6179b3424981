# Two commands are enough on a fresh machine with Python and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: demo test test-fast lint bench clean

demo: $(STAMP)  ## render a clip with ground truth, run the pipeline, score it, write demo/report.html
	$(BIN)/geoflow demo -o demo $(ARGS)

test: $(STAMP)  ## every test that can run here; `gpu` tests skip themselves
	$(BIN)/python -m pytest $(ARGS)

test-fast: $(STAMP)  ## the default tier: no Ray, no environments, nothing long
	$(BIN)/python -m pytest -m "not long and not ray and not env and not gpu" $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/geoflow bench $(ARGS)

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

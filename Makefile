# Two commands are enough on a fresh machine with Python and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
DEV := $(VENV)/.dev
DOCS := $(VENV)/.docs

.PHONY: demo test test-all test-fast lint bench golden docs clean

demo: $(CORE)  ## render a clip with ground truth, run the pipeline, score it, write demo/report.html
	$(BIN)/geoflow demo -o demo $(ARGS)

test: $(DEV)  ## the tests, with Ray and real environments, except the slow ones; `gpu` tests skip themselves
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else  # tests with Ray keep all cores busy by themselves; they run whatever became of the others
	$(BIN)/python -m pytest -n 2 -m "not ray and not env and not slow"; others=$$?; \
	$(BIN)/python -m pytest -m "(ray or env) and not slow" && exit $$others
endif

test-all: $(DEV)  ## every test: `make test`, then the slow ones, whatever became of the others
	$(MAKE) test; others=$$?; $(BIN)/python -m pytest -m slow && exit $$others

test-fast: $(DEV)  ## the default tier: no Ray, no environments, nothing long
	$(BIN)/python -m pytest -n 2 -m "not long and not ray and not env and not gpu" $(ARGS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV)  # with torch, for `bench geometry`
	$(BIN)/geoflow bench $(ARGS)

docs: $(DOCS)  ## the site of docs/ in site/, after its generated parts were made anew
	$(BIN)/python docs/scripts/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

golden: $(DEV)  ## hold a network against a folder of golden data: make golden MODEL=geometrycrafter DIR=FOLDER
	@test -n "$(MODEL)" -a -n "$(DIR)" || { echo "golden: say which: make golden MODEL=NAME DIR=FOLDER" >&2; exit 2; }
	@$(BIN)/python tests/support/golden_run.py "$(MODEL)" "$(DIR)" $(ARGS)

clean:
	rm -rf $(VENV) demo dist build site .pytest_cache .mypy_cache .ruff_cache

$(CORE): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV): $(CORE)  # with torch, for the tests of geoflow/models
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

$(DOCS): $(CORE)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

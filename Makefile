# `make demo` makes pictures, `make ui` opens a page, `make test` checks everything; each sets up .venv in a fresh clone.
PYTHON ?= python3
# Where to look for the small CPU build of torch first; pip goes on without it if it cannot be reached.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# How many processes share the tests (one torch thread each, see tests/conftest.py), and what else pytest is told.
WORKERS ?= logical
PYTEST_ARGS ?=

.PHONY: demo ui test lint clean

demo: .venv/run.stamp
	$(BIN)/fouriscale demo --out outputs/demo

# Options of `fouriscale ui`: make ui UI="--port 8000 --model DIR"
UI ?=
ui: .venv/ui.stamp
	$(BIN)/fouriscale ui $(UI)

test: .venv/dev.stamp lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadgroup $(PYTEST_ARGS)

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.venv/torch.stamp:
	$(PYTHON) -m venv .venv
	$(PIP) --retries 0 --timeout 10 --extra-index-url $(TORCH_INDEX) torch==2.13.0
	@touch $@

.venv/run.stamp: .venv/torch.stamp requirements/run.txt pyproject.toml
	$(PIP) -r requirements/run.txt
	$(PIP) --no-deps --editable .
	@touch $@

.venv/ui.stamp: .venv/run.stamp requirements/ui.txt
	$(PIP) -r requirements/ui.txt
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt requirements/dev-no-deps.txt requirements/gradio3.txt requirements/gradio4.txt
	$(PIP) -r requirements/dev.txt
	$(PIP) --no-deps -r requirements/dev-no-deps.txt
# The gradio of each kind of WebUI lives beside the others' packages, in a folder that tests put first on the path.
# It asks for older packages than .venv has, which is why the folder is there: no warning of it, but every error.
	rm -rf .venv/gradio3 .venv/gradio4
	$(PIP) --no-warn-conflicts --target .venv/gradio3 -r requirements/gradio3.txt
	$(PIP) --no-warn-conflicts --target .venv/gradio4 -r requirements/gradio4.txt
	@touch $@

clean:
	rm -rf .venv outputs build dist

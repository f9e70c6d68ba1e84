PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: install demo up test check bench lock clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: install            ## set everything up and run the main job; ONCE=1 ends by itself
	$(BIN)/weir demo $(if $(ONCE),--once) $(ARGS)

up: install              ## every process on this machine, until Ctrl-C
	$(BIN)/weir up $(ARGS)

test: install
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/weir bench $(ARGS)

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-annotate

lock:                    ## write the locks anew: all of pyproject.toml, what a server's image needs of it, the bench's peers
	$(LOCK) pyproject.toml --extra local --extra dev -o requirements.lock
	$(LOCK) pyproject.toml --constraint requirements.lock -o deploy/requirements.lock
	$(LOCK) benchmarks/requirements.in --constraint requirements.lock -o benchmarks/requirements.txt

clean:
	rm -rf $(VENV) .weir build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

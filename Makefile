PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

PACKAGES := api cli domain infra migrations projections workers

.DEFAULT_GOAL := help
.PHONY: help install compiled demo up test test-quick fuzz grow check settings openapi reference release docs bench compose-test lock audit sbom clean

help:                    ## these lines
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

install: $(VENV)/.client         ## everything that is needed, in .venv

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# The client that the demo asks the shop by, from the API's own document. Its generator and what is in the lock exclude
# each other, so that it has an environment of its own.
GENERATOR := build/generator
CLIENT := build/weir-client

$(GENERATOR)/.installed: docs/client/requirements.txt | $(VENV)/.installed
	$(BIN)/python -m venv --clear --without-pip $(GENERATOR)
	$(BIN)/python -m pip --python $(GENERATOR) install --quiet --disable-pip-version-check --no-compile --require-hashes \
		--no-deps -r $<
	touch $@

$(VENV)/.client: docs/openapi.json docs/client/config.yaml $(GENERATOR)/.installed $(VENV)/.installed
	rm -rf $(CLIENT)
	$(GENERATOR)/bin/openapi-python-client generate --path docs/openapi.json --config docs/client/config.yaml --meta setup \
		--output-path $(CLIENT) > build/client.log 2>&1 || { cat build/client.log; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index $(CLIENT)
	touch $@

# Each of the many processes would compile the code anew where PYTHONDONTWRITEBYTECODE is set.
compiled: install
	@$(BIN)/python -m compileall -q $(PACKAGES)

demo: compiled           ## set everything up and run the main job; ONCE=1 ends by itself
	$(BIN)/weir demo $(if $(ONCE),--once) $(ARGS)

up: compiled             ## every process on this machine, until Ctrl-C
	$(BIN)/weir up $(ARGS)

# Files are begun in the order of testpaths, the longest first: in xdist's own the last one is waited for alone.
# So is their assertions' code kept, which each process would make anew as well.
# A third of a test's time is waited for: there is one process more than processors, and four at most.
TEST_PROCESSES := $(shell n=$$(nproc 2> /dev/null || echo 2); echo $$((n < 4 ? n + 1 : 4)))
# One that hangs ends its process (faulthandler_timeout), and is begun again in another one, once.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile \
	--no-loadscope-reorder --max-worker-restart 1

test: compiled           ## all tests; ARGS goes to pytest
	$(PYTEST) $(ARGS)

test-quick: compiled     ## within a minute: the rules, and three orders through every process
	$(PYTEST) --hypothesis-profile=quick \
		tests/journeys/test_journey.py::test_three_orders_go_their_ways_through_every_process tests/unit $(ARGS)

fuzz: install            ## ten times as many odd requests as the tests send, and others each time
	$(BIN)/python -m pytest --hypothesis-profile=fuzz tests/integration/http/test_openapi.py $(ARGS)

grow: compiled           ## journeys, kills and the audit over PgBouncer, a replica, standbys, Sentinels, a cluster: a quarter of an hour
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -vv tests/grow $(ARGS)

check: docs              ## linters, types, import contracts, tables, the API against the last release, Kubernetes, links in docs/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	env -u DATABASE_URL WEIR_ENV_FILE= $(BIN)/weir migrate --check
	$(BIN)/weir openapi | diff -u docs/openapi.json - || { echo 'run: make openapi'; exit 1; }
	$(BIN)/weir asyncapi | diff -u docs/asyncapi.json - || { echo 'run: make openapi'; exit 1; }
	$(BIN)/weir release check
	$(BIN)/python -m pytest tests/unit/kubernetes/test_schemas.py

# A document that cannot be made leaves the one that there is: the next attempt may need it.
made = mkdir -p build && $(BIN)/weir $(1) > build/made && mv build/made $(2)

settings: install        ## docs/settings.md and .env.example, from the class that they describe
	$(call made,settings --markdown,docs/settings.md)
	$(call made,settings --example,.env.example)

openapi: install         ## docs/openapi.json and docs/asyncapi.json, from the routes and types that they describe
	$(call made,openapi,docs/openapi.json)
	$(call made,asyncapi,docs/asyncapi.json)

reference: install       ## docs/events.md, docs/metrics.md and docs/problems.md, from the tables that they describe
	$(call made,reference events,docs/events.md)
	$(call made,reference metrics,docs/metrics.md)
	$(call made,reference problems,docs/problems.md)

release: install         ## keep the documents of the changelog's newest version, for the next one to be compared with
	$(BIN)/weir release keep

docs: install            ## the pages of docs/ as a site in build/docs; `weir up` shows it at /docs/guide
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file docs/site/mkdocs.yml

bench: install           ## measure Weir beside its peers
	$(BIN)/weir bench $(ARGS)

compose-test: install    ## compose.yaml for real, by podman and Debian's packages: see docs/deploy.md; needs root
	$(BIN)/python -m deploy.compose_test $(ARGS)

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-annotate

lock:                    ## write the locks anew: pyproject.toml, what a server's image needs of it, the bench's peers, the client
	$(LOCK) pyproject.toml --extra local --extra tracing --extra sentry --extra dev -o requirements.lock
	$(LOCK) pyproject.toml --extra tracing --extra sentry --constraint requirements.lock -o deploy/requirements.lock
	$(LOCK) benchmarks/requirements.in --constraint requirements.lock -o benchmarks/requirements.txt
	$(LOCK) docs/client/requirements.in --no-emit-package ruff -o docs/client/requirements.txt

# Tools of their own, in an environment of their own: nothing of them is in the locks.
AUDIT := build/audit

$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1 cyclonedx-bom==7.5.0

audit: $(AUDIT)/bin/pip-audit    ## known vulnerabilities of what the locks name; by the list of PyPI, or of OSV (SERVICE=osv)
	$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --vulnerability-service $(or $(SERVICE),pypi) -r requirements.lock
	$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --vulnerability-service $(or $(SERVICE),pypi) -r deploy/requirements.lock

sbom: $(AUDIT)/bin/pip-audit     ## build/sbom.json: what a server's image has in it, as CycloneDX
	$(AUDIT)/bin/cyclonedx-py requirements deploy/requirements.lock --of JSON --output-reproducible -o build/sbom.json

clean:                   ## forget the environment, the data and what tools have kept
	rm -rf $(VENV) .weir build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

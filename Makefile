# Everything that people run. A bare Debian with python3, python3-venv, make and git is enough: `make demo`.

.DEFAULT_GOAL := help
.PHONY: help setup demo example test check lint-openapi bench soak up down lock rabbitmq

# The lock is made for Python 3.11; newer ones work where their wheels exist.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# More arguments for the tool behind a target: make test ARGS="-k submit"
ARGS ?=
# auto: RabbitMQ where it is installed, else Valkey. rabbitmq: fail without it.
GRISTMILL_TEST_BROKER ?= auto
export GRISTMILL_TEST_BROKER
# Some images set it: then each process that starts compiles every module anew, a third of its start.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: .venv/installed rabbitmq ## Install everything into .venv, as the lock says; quick when nothing changed

demo: setup ## Start everything, load real data, search it, show the curl lines; the services stay up
	$(BIN)/gristmill demo $(ARGS)

test: setup .venv-openapi/installed .venv-s3/installed ## All tests, on real Postgres and a real broker
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: .venv/installed ## Style, types and layers: ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

lint-openapi: .venv/installed ## A public linter's rules for the OpenAPI document; needs node, and npm's registry
	$(BIN)/python -m gristmill.api.openapi > .venv/openapi.json
	npx --yes @redocly/cli@2.77.0 lint .venv/openapi.json

bench: setup ## Measure, and print a table with the machine
	$(BIN)/python -m benchmarks $(ARGS)

soak: setup ## Five minutes of random kills under load (ARGS=60: a minute); nothing may be lost or doubled
	$(BIN)/python -m tests.soak $(ARGS)

example: setup ## Run one of the examples beside the stack: make example NAME=stream PORT=8101; without NAME, list them
ifeq ($(NAME),)
	@for file in examples/*/app.py; do name=$${file#examples/}; echo "  make example NAME=$${name%/app.py} PORT=…   $$(sed -n '1s/^"""//p' $$file)"; done
else
	@[ -f examples/$(NAME)/app.py ] || { echo "There is no example $(NAME); make example lists them"; exit 1; }
	@[ -n "$(PORT)" ] || { echo "PORT is missing: make example NAME=$(NAME) PORT=8101"; exit 1; }
	@$(BIN)/gristmill up >/dev/null
	@$(BIN)/gristmill app start $(NAME) examples/$(NAME)/app.py --port $(PORT) $(ARGS)
endif

up: setup ## Start Postgres, broker, API, workers and Flower on this machine
	$(BIN)/gristmill up $(ARGS)

down: ## Stop them; no process is left
	@if [ -x $(BIN)/gristmill ]; then $(BIN)/gristmill down $(ARGS); fi

# Published files only: wheels that lie about on this machine have other hashes.
COMPILE := PIP_FIND_LINKS= PIP_EXTRA_INDEX_URL= PIP_CONFIG_FILE=/dev/null $(BIN)/python -m piptools compile --quiet \
  --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-options --no-emit-index-url \
  --no-emit-find-links --no-emit-trusted-host

lock: ## Write the locks anew, after a change of pyproject.toml; UPGRADE=--upgrade takes newer versions too
	@# The build backend; and for Python 3.11.2, which Debian 12 has, as the lock may be made with a newer one: what redis
	@# wants there, and the last soupsieve (of nbconvert) that runs there.
	printf 'setuptools>=77\nasync-timeout>=4.0.3\nsoupsieve<3.0.2\n' | \
	  $(COMPILE) $(UPGRADE) --all-extras --output-file requirements.lock pyproject.toml -
	@# What runs in a container, in the same versions.
	echo 'setuptools>=77' | \
	  $(COMPILE) --extra server --extra static --extra s3 --extra images --extra onnx --constraint requirements.lock --output-file docker/requirements.lock pyproject.toml -
	@# What reads the OpenAPI document in the tests.
	$(COMPILE) $(UPGRADE) --output-file tests/openapi/requirements.lock tests/openapi/requirements.in
	@# The server of S3 in the tests: OpenStack Swift.
	$(COMPILE) $(UPGRADE) --output-file tests/s3/requirements.lock tests/s3/requirements.in
	@sed -i '/^#/d; /^$$/d' requirements.lock docker/requirements.lock tests/openapi/requirements.lock tests/s3/requirements.lock

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Gristmill needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@[ -x $(BIN)/python ] || { echo "Making .venv and installing what the lock names; the first time this takes a minute or two"; $(PYTHON) -m venv .venv; }
	@echo "Installing what requirements.lock lists"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --requirement requirements.lock
	@# The build backend is in the lock too: nothing is downloaded that has no hash.
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv-openapi/installed: tests/openapi/requirements.lock
	@[ -x .venv-openapi/bin/python ] || $(PYTHON) -m venv .venv-openapi
	@echo "Installing what reads the OpenAPI document in the tests"
	@.venv-openapi/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --requirement tests/openapi/requirements.lock
	@touch $@

.venv-s3/installed: tests/s3/requirements.lock
	@[ -x .venv-s3/bin/python ] || $(PYTHON) -m venv .venv-s3
	@echo "Installing the server of S3 for the tests"
	@.venv-s3/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --requirement tests/s3/requirements.lock
	@touch $@

# RabbitMQ is a system package. Gristmill runs a private node of it and never touches the system's own.
rabbitmq:
	@if [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing rabbitmq-server with apt"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server; } \
	    >.venv/apt.log 2>&1 || { tail -3 .venv/apt.log; echo "RabbitMQ could not be installed: Valkey will be the broker"; }; \
	else \
	  echo "RabbitMQ is not installed: Valkey will be the broker. For RabbitMQ: sudo apt-get install rabbitmq-server"; \
	fi

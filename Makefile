# `make demo` and `make test` do all the set-up themselves; see README.md.
export PYTHON ?= python3
export VENV ?= .venv
# Where PyTorch is taken from; else its CPU build on Linux without an NVIDIA driver, and the usual index elsewhere.
export TORCH_INDEX ?=
BIN := $(VENV)/bin

# Idle threads sleep soon, so that programs side by side do not slow each other down; see docs/scaling.md.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 10000
endif

.PHONY: install install-dev demo test test-all onnxruntime-web check bench bench-explorer bench-import judge pretrained fashion-mnist cifar10 bench-estimators notebooks evidence renew fuzz package clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt scripts/install.sh
	@scripts/install.sh
	@touch $@

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed-dev: pyproject.toml constraints.txt scripts/install.sh
	@scripts/install.sh dev
	@touch $@ $(VENV)/.installed

demo: install
	@$(BIN)/rgm run --out runs/demo

# A worker a core, each of one thread; worksteal keeps neighbours together, so that they share what they made.
WORKERS ?= logical
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

# All but what is long by nature: minutes.
test: install-dev
	@RGM_FUZZ=20 $(PYTEST) -m "not slow"

# Everything: what CI runs.
test-all: install-dev
	@$(PYTEST)

# What a page without a program behind it needs: two files of an npm package.
onnxruntime-web:
	@test -d node_modules/onnxruntime-web || npm install --prefix . --no-save --no-audit --no-fund --silent onnxruntime-web@1.30.0

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The packaged judges, retrained (half a minute, and six minutes on two cores). That of MNIST is from an earlier version.
judge: install
	@$(BIN)/rgm judge --data digits --out src/rgm/weights/judge-digits.safetensors
	@$(BIN)/rgm judge --data fashion-mnist --out src/rgm/weights/judge-fashion-mnist.safetensors

# The packaged weights, retrained with seed 1 (two hours on two cores; continues if it was stopped), and their page.
pretrained: install
	@$(BIN)/rgm train --preset pretrained --data mnist --out runs/pretrained --resume
	@$(BIN)/rgm pack runs/pretrained --out src/rgm/weights/mnist.safetensors
	@$(BIN)/python benchmarks/results.py mnist

# Those of Fashion-MNIST (an hour and a half) and of CIFAR-10 (minutes on a GPU), retrained; see docs/colour.md for CIFAR10.
fashion-mnist: install
	@$(BIN)/rgm train --preset colour32-medium --data fashion-mnist --seed 0 --out runs/fashion-mnist --resume
	@$(BIN)/rgm pack runs/fashion-mnist --out src/rgm/weights/fashion-mnist.safetensors
	@$(BIN)/python benchmarks/results.py fashion-mnist --out docs/results-fashion-mnist.md

CIFAR10 ?= cifar10
cifar10: install
	@$(BIN)/rgm train --preset colour32-large --data $(CIFAR10) --seed 0 --out runs/cifar10 --resume
	@$(BIN)/rgm pack runs/cifar10 --out src/rgm/weights/cifar10.safetensors
	@$(BIN)/python benchmarks/results.py cifar10 --data $(CIFAR10) --out docs/results-cifar10.md

# The estimators compared: docs/estimators.json and docs/estimators.md (34 trainings, half an hour of one core).
bench-estimators: install-dev
	@$(BIN)/python benchmarks/estimators.py

# The notebooks with their outputs: notebooks/*.ipynb, from the scripts of the same names (ten minutes on two cores).
notebooks: install-dev
	@$(BIN)/jupytext --quiet --to ipynb notebooks/*.py
	@PYTHONWARNINGS=ignore $(BIN)/jupyter-execute --inplace --timeout=-1 --NotebookClient.record_timing=False notebooks/*.ipynb

# The evidence of the packaged weights, with the controls: docs/evidence.md (two minutes on two cores).
evidence: install
	@$(BIN)/python benchmarks/evidence.py mnist

# Pages and pictures made from packaged weights that have changed since, made anew (a quarter of an hour for those of MNIST).
renew: install-dev
	@$(BIN)/python benchmarks/renew.py

# Speed relative to the notebook's loop: docs/benchmarks.json and docs/benchmarks.md (nine minutes on two cores).
bench: install-dev
	@$(BIN)/python benchmarks/speed.py

# Wheel and sdist: what is in them, and a smoke test in a fresh environment (a minute or two), or in one of each of
# PYTHONS="python3.12 python3.13".
PYTHONS ?=
package: install-dev
	@.ci/package $(abspath $(BIN))/python $(PYTHONS)

# What importing costs beyond PyTorch (a minute).
bench-import: install-dev
	@$(BIN)/python benchmarks/imports.py

# Fuzzing: 120,000 malformed files and requests, different each time (ten minutes on one core).
fuzz: install-dev
	@RGM_FUZZ=10000 $(BIN)/python -m pytest -s tests/test_hostile.py

# How fast the explorer answers, in a real browser (half a minute).
bench-explorer: install-dev
	@$(BIN)/python benchmarks/explorer.py

clean:
	rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Needs make and Python 3.11 or newer; everything else goes into $(VENV).
#
#   make run          every notebook headless into build/      PROFILE=full DEVICE=cuda ONLY=03 RECORD=1 HANG=3600
#   make seeds        which assertions fail for which seeds    SEEDS=0-9 ONLY=07 JOBS=2
#   make test         lint, unit tests, nbval, papermill, browser, Binder      ARGS="-m 'not slow'"
#                     two tests side by side, JOBS=1 one by one; `make run` has one notebook at a time, JOBS=2 two
#   make processors   unit tests and nbval as other processors compute them    SETTINGS=sse4.2 ARGS=tests
#   make lab          JupyterLab at your own copies of the lessons, in my/     FRESH=03 (a new copy; the old one stays)
#   make regenerate   re-executes the notebooks in place                       ONLY=03
#   make lint         ruff, import-linter, mypy
#   make tables       trains every architecture of our benchmarks (2 CPU hours)   ONLY="cells conv" CONFIRM=20
#   make constraints  pins again after pyproject.toml changed                  UPGRADE=pytest, UPGRADE=all
#   make clean        removes build/ and caches, not $(VENV)
#
# PyTorch: tools/torch_index.py chooses the CPU build (200 MB) on Linux without an NVIDIA driver, else what pip gives.
# To choose yourself, the first time or after `rm -r .venv`: TORCH_INDEX=https://download.pytorch.org/whl/cu126,
# TORCH_INDEX= for pip's.

PYTHON ?= python3
VENV ?= .venv
PROFILE ?= quick
SEEDS ?= 0-9
TIME_FACTOR ?= 1
TORCH_CPU ?= https://download.pytorch.org/whl/cpu

BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ifeq ($(origin TORCH_INDEX),undefined)
INDEX := $$($(BIN)/python tools/torch_index.py $(TORCH_CPU))
else
INDEX := $(TORCH_INDEX)
endif

# Two threads on two busy cores can be 20 times slower than one.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export TIME_FACTOR

PYTEST := -m pytest --numprocesses $(or $(JOBS),2) --dist loadscope --no-loadscope-reorder

.PHONY: run seeds test processors lab regenerate tables lint constraints clean

run: $(VENV)/ready
	@$(BIN)/python tools/run_notebooks.py --profile $(PROFILE) $(if $(DEVICE),--device $(DEVICE)) \
	    $(if $(ONLY),--only $(ONLY)) $(if $(RECORD),--record) $(if $(JOBS),--jobs $(JOBS)) $(if $(HANG),--hang $(HANG))

seeds: $(VENV)/ready
	@$(BIN)/python tools/seeds.py --seeds "$(SEEDS)" $(if $(ONLY),--only $(ONLY)) $(if $(JOBS),--jobs $(JOBS))

test: $(VENV)/ready-test
	@$(BIN)/python $(PYTEST) $(ARGS)

processors: $(VENV)/ready-test
	@$(BIN)/python tools/processors.py $(if $(SETTINGS),--settings "$(SETTINGS)") -- $(PYTEST) -m "not slow" $(or $(ARGS),tests notebooks)

lab: $(VENV)/ready
	@$(BIN)/python tools/lab.py $(if $(FRESH),--fresh $(FRESH)) $(ARGS)

regenerate: $(VENV)/ready
	@$(BIN)/python tools/regenerate.py $(if $(ONLY),--only $(ONLY))

tables: $(VENV)/ready
	@$(BIN)/python tools/make_tables.py $(if $(ONLY),--only $(ONLY)) $(if $(JOBS),--jobs $(JOBS)) $(if $(CONFIRM),--confirm $(CONFIRM))

lint: $(VENV)/ready-test
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python -m mypy

constraints: $(VENV)/ready-test
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --extra test --extra cluster --extra export --extra binder \
	    $(if $(UPGRADE),$(if $(filter all,$(UPGRADE)),--upgrade,--upgrade-package $(UPGRADE))) --no-annotate --custom-compile-command "make constraints" \
	    --output-file constraints.txt pyproject.toml
	@$(MAKE) --no-print-directory $(VENV)/ready-test
	$(BIN)/python tools/binder_environment.py

clean:
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(VENV)/ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "naslab: there is no '$(PYTHON)' here. Install Python 3.11 or newer," \
	    "or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || { $(PYTHON) tools/prerequisites.py && $(PYTHON) -m venv $(VENV); }
	@echo "Installing the course into $(VENV) (a few minutes the first time)"
	@index="$(INDEX)" && $(PIP) $${index:+--extra-index-url "$$index"} --editable '.[cluster,export]'
	@touch $@

$(VENV)/ready-test: $(VENV)/ready
	@echo "Installing the test tools into $(VENV)"
	@$(PIP) --editable '.[test,export,cluster,binder]'
	@touch $@

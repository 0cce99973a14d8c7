# Everything a newcomer needs: `make demo` and `make test` do their own set-up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Python compiles what it imports; pip would compile all of PyTorch first.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

# Where it is set, every process compiles TVM and torch anew, for six seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo check lint types test slow performance gpu clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PIP) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --group test --group lint
	touch $@

demo: $(VENV)/.installed
	$(BIN)/mschedx tune gemm --shape 1024,1024,1024 --dtype float32 --trials 64 --work-dir demo

check: lint types test

# Two processes, a file to each at a time: TVM starts slowly, and half of the time tests wait.
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not gpu and not slow and not performance"

# Every network of the catalogue, and runs that are killed: before a release.
slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "slow and not gpu"

# On an NVIDIA GPU, sm_80 or newer.
gpu: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m gpu

# On an idle machine.
performance: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "performance and not gpu"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/pyright

clean:
	rm -rf $(VENV) demo

# Two commands do everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
# PyTorch's own index for builds without CUDA, which are far smaller:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo app test test-slow check format clean

demo: $(VENV)/.installed-demo
	$(BIN)/var-plugin demo

app: $(VENV)/.installed-demo
	$(BIN)/var-plugin app

# Two workers with one thread each: networks that each take all cores wait for each other.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# `dev` holds all that `demo` needs, so one virtual environment serves both.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c "import sys; sys.exit(sys.version_info < (3, 11))" \
		|| { echo "Python 3.11 or newer is needed; name one: make $* PYTHON=python3.12"; exit 1; }
ifeq ($(TORCH_INDEX),)
	@echo "Installing var-plugin[$*] into $(VENV). On Linux this downloads about 3 GB from PyPI the first time, most of"
	@echo "it PyTorch with CUDA, and takes 7 GB on disk. Without CUDA it is far less (not measured here):"
	@echo "  make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu"
else
	@echo "Installing PyTorch from $(TORCH_INDEX), then var-plugin[$*], into $(VENV)."
	$(PIP) torch torchaudio --index-url $(TORCH_INDEX)
endif
	$(PIP) --editable ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) demo-footage

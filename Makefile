# On a fresh Linux machine with Python 3.11 to 3.14, `make demo` and `make test` install what they need.

PYTHON ?= python3
VENV ?= .venv
# PyTorch's own index has builds without CUDA, which are much smaller:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
NEWEST_VENV ?= .venv-newest
NEWEST_TESTS := tests/media tests/index/test_index.py tests/ingest/test_add.py tests/retrievers/test_search.py \
	tests/retrievers/test_langchain.py tests/tools tests/encoders/lite/test_image_text.py tests/app/test_chat.py \
	tests/server/test_embeddings.py tests/test_cli.py tests/test_doctor.py tests/encoders/backbones

BIN := $(VENV)/bin
NEWEST_BIN := $(NEWEST_VENV)/bin
LOCK := $(BIN)/uv pip compile pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock"

.PHONY: demo app test test-slow test-newest check docs docs-build format lock clean

demo: $(VENV)/.installed-demo
	$(BIN)/var-plugin demo

app: $(VENV)/.installed-demo
	$(BIN)/var-plugin app

# Two workers with one thread each; with more threads the networks of both workers compete for the cores.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

# Install the newest packages that pyproject.toml allows, as `pip install var-plugin` does, and test imports, decoding,
# indexing, search, the page and the server. Use the newest Python: make test-newest PYTHON=python3.13
test-newest:
	$(PYTHON) requirements/install.py dev --newest --venv $(NEWEST_VENV)
	$(NEWEST_BIN)/var-plugin doctor
	OMP_NUM_THREADS=1 $(NEWEST_BIN)/python -m pytest -n 2 --dist loadfile $(NEWEST_TESTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation site, at http://127.0.0.1:8001; `make docs-build` builds it strictly into site/.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --dev-addr 127.0.0.1:8001

docs-build: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Versions change only where they no longer fit. To upgrade all: make lock LOCK_OPTIONS=--upgrade
lock: $(VENV)/.installed-dev
	$(LOCK) --extra dev $(LOCK_OPTIONS) --output-file requirements/dev.txt
	$(LOCK) --extra demo --constraints requirements/dev.txt --output-file requirements/demo.txt
	$(LOCK) --extra server --constraints requirements/dev.txt --output-file requirements/server.txt

# `dev` includes everything in `demo`, so both use one virtual environment.
$(VENV)/.installed-%: pyproject.toml requirements/%.txt requirements/install.py
ifeq ($(TORCH_INDEX),)
	@echo "The first installation downloads about 3 GB, most of it PyTorch with CUDA, and needs 7 GB of disk space."
	@echo "Without CUDA it is smaller: make $* TORCH_INDEX=https://download.pytorch.org/whl/cpu"
endif
	@$(PYTHON) requirements/install.py $* --venv $(VENV) --torch-index "$(TORCH_INDEX)"
	@touch $@

clean:
	rm -rf $(VENV) $(NEWEST_VENV) demo-footage site

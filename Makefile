# Everything a fresh machine with Python 3.11+ and git needs; nothing needs root.
# uv comes from the PATH or goes into .tools; the environment goes into .venv.
export UV_PYTHON_PREFERENCE ?= only-system
export PYTHONDONTWRITEBYTECODE =
export MLFLOW_DISABLE_TELEMETRY = true
export DO_NOT_TRACK = true
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --frozen --no-sync

.PHONY: setup demo lint check test clean

setup: .venv/.ready

$(UV):
	python3 -m venv .tools && .tools/bin/python -m pip install --quiet uv

.venv/.ready: pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --compile-bytecode --python "$$(python3 -c 'import sys; print(sys.executable)')"
	touch $@

demo: setup
	$(RUN) changeover demo

lint: setup
	$(RUN) ruff format --check .
	$(RUN) ruff check .

check: lint
	$(RUN) mypy

# Types are checked beside the first tests, which leave a core to spare.
test: lint
	@$(RUN) mypy & types=$$!; \
	$(RUN) pytest -m "not gpu" -n 2 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	wait $$types && exit $$tests

clean:
	rm -rf .venv .tools

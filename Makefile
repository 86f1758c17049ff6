# reelsift: `make demo` shows it at work, `make test` proves it. Everything lands in .venv and in the user's cache.
PYTHON ?= python3
BIN := .venv/bin
LOCK := requirements/lock.txt
TORCH := torch==2.13.0
VIDEO ?=
REPORT ?= report.html

.PHONY: setup models demo test test-fast faults lint protos dashboards bench bench-gpu lock clean

setup: .venv/.ready

# The lock names every package with its hash. It is installed without resolving, because `trackers` asks for the desktop build of OpenCV
# where the headless one does. torch stands apart: which of its builds fits is the machine's matter.
.venv/.ready: $(LOCK) pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

models: setup
	$(BIN)/reelsift models export

demo: models
	@if [ -n "$(VIDEO)" ]; then $(BIN)/reelsift analyze "$(VIDEO)" --report "$(REPORT)"; \
	else echo "composing .demo/composite.mp4 of real clips, with known cuts and words"; \
	$(BIN)/python -m tests.media.composite .demo/composite.mp4 && $(BIN)/reelsift analyze .demo/composite.mp4 --report "$(REPORT)"; fi

test: models lint
	$(BIN)/pytest -n 2 tests/unit
	$(BIN)/pytest --ignore tests/unit

test-fast: setup
	$(BIN)/pytest -n 2 tests/unit
	$(BIN)/pytest tests/contract

# Every promise about crashes in full, one to two hours: what is in faults.jsonl already is not run again.
faults: models
	$(BIN)/python -m tests.faults --out faults.jsonl

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/python protos/generate.py --check
	$(BIN)/python ops/grafana/generate.py --check

protos: setup
	$(BIN)/python protos/generate.py

dashboards: setup
	$(BIN)/python ops/grafana/generate.py

bench: models
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/bench.txt
	$(BIN)/python -m tests.benchmarks
	$(BIN)/python -m tests.benchmarks.shots
	$(BIN)/python -m tests.benchmarks.search

bench-gpu: models
	$(BIN)/python -m tests.benchmarks.gpu

# Needs uv (any recent version) on PATH.
lock:
	uv pip compile pyproject.toml requirements/export.in --extra cpu --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-package opencv-python -o $(LOCK)
	uv pip compile pyproject.toml -c $(LOCK) --extra bench --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-package opencv-python -o requirements/bench.txt
	uv pip compile pyproject.toml requirements/serve.in -c $(LOCK) --extra cpu --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-package opencv-python -o requirements/serve.txt
	uv pip compile pyproject.toml requirements/serve.in -c requirements/serve.txt --extra gpu --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-package opencv-python -o requirements/serve-gpu.txt
	uv pip compile requirements/bench-pytriton.in --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url -o requirements/bench-pytriton.txt

clean:
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

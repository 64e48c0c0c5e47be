# Everything here sets itself up: Debian with python3, python3-venv and make is enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# One more than there are cores: tests wait for processes and clocks more than they reckon.
JOBS   ?= $(shell expr $$(nproc) + 1)

# What `make demo` adds to the command: DEMO=--once ends it when its print has ended.
DEMO   ?=

.PHONY: demo test bench soak lint docs clean

demo: $(READY)
	$(BIN)/polyhost demo --print $(DEMO)

test: $(READY) lint
	$(BIN)/pytest -n $(JOBS)

lint: $(READY)
	$(BIN)/ruff check polyhost tests benchmarks docs
	$(BIN)/ruff format --check polyhost tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python docs/generate.py

# PEERS=1 installs OctoPrint and Moonraker in folders of their own and measures them in the same run.
bench: $(READY)
	$(BIN)/python -m benchmarks $(if $(PEERS),--octoprint .venv-peers --moonraker .venv-moonraker) $(if $(PAGE),--markdown docs/benchmarks.md) $(ONLY)

soak: $(READY)
	POLYHOST_SOAK=1 $(BIN)/pytest -n $(JOBS)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-peers .venv-moonraker build dist

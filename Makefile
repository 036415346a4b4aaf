# make lessons   runs the five local lessons      make test   runs all tests
# Each target sets up what it needs in .venv; a second run reuses it.

SHELL := /bin/sh
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	if $$p -c '$(SUPPORTED)' 2>/dev/null; then echo $$p; break; fi; done)
BIN := .venv/bin
LOG := output/lessons.log

.PHONY: lessons test clean

.venv/lessons: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.10 to 3.13; make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "error: no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -c "import examples_common; print(examples_common.language_model())"
	@touch $@

.venv/test: .venv/lessons
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

lessons: .venv/lessons
	@mkdir -p output && : > $(LOG)
	@for lesson in examples_local/0[1-5]_*.py; do \
		printf '\n======== %s\n' "$$lesson"; \
		$(BIN)/python "$$lesson" 2>> $(LOG) || { tail -n 20 $(LOG); exit 1; }; \
	done
	@printf '\nDataTrove'"'"'s own log of these runs: %s\n' $(LOG)

test: .venv/test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile

clean:
	rm -rf .venv output data/samples data/models

# make lessons   runs the five local lessons
# make exercises shows the exercises, and how far you are
# make test      runs the tests; make test-faults the long ones: drills on Slurm, whole runs
# make pictures  draws the pictures of the pages anew, from runs of the lessons
# make cluster   installs Slurm and what it needs (Debian, Ubuntu)
# make browser   installs Chromium, in which the tests open a report (Debian)
# make bench     measures the lessons' steps against DataTrove's own and other tools; FULL=1 at the
#                sizes that are recorded in spec 08
# Each target sets up what it needs in .venv; a second run reuses it.

SHELL := /bin/sh
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	if $$p -c '$(SUPPORTED)' 2>/dev/null; then echo $$p; break; fi; done)
BIN := .venv/bin
LOG := output/lessons.log

CLUSTER_PACKAGES := slurm-wlm slurmdbd munge mariadb-server

# $(call install,packages,programs they bring): by apt, unless all programs are there
define install
	@PATH="$$PATH:/usr/sbin:/sbin"; apt="apt-get install --yes --no-install-recommends $(1)"; \
	if (for name in $(2); do command -v $$name >/dev/null || exit 1; done); then \
		echo "installed: $(2)"; \
	elif ! command -v apt-get >/dev/null 2>&1; then \
		echo "no apt here: install $(2) with your own tools"; exit 1; \
	elif [ "$$(id -u)" = 0 ]; then \
		apt-get update --quiet && DEBIAN_FRONTEND=noninteractive $$apt; \
	elif sudo -n true 2>/dev/null; then \
		sudo apt-get update --quiet && sudo DEBIAN_FRONTEND=noninteractive $$apt; \
	else \
		echo "this needs root once: sudo $$apt"; exit 1; \
	fi
endef

.PHONY: lessons exercises pictures test test-faults cluster browser bench clean

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

.venv/bench: .venv/lessons
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	@touch $@

lessons: .venv/lessons
	@mkdir -p output && : > $(LOG)
	@for lesson in examples_local/0[1-5]_*.py; do \
		printf '\n======== %s\n' "$$lesson"; \
		$(BIN)/python "$$lesson" 2>> $(LOG) || { tail -n 20 $(LOG); exit 1; }; \
	done
	@printf '\nDataTrove'"'"'s own log of these runs: %s\n' $(LOG)

exercises: .venv/lessons
	@$(BIN)/python exercises/check.py

pictures: .venv/test
	$(BIN)/python spec/pictures

cluster:
	$(call install,$(CLUSTER_PACKAGES),slurmctld slurmdbd munged mariadbd)

browser:
	$(call install,chromium,chromium)

test: .venv/test
	-@$(MAKE) --no-print-directory --keep-going cluster browser
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=15 -m "not slow"

test-faults: .venv/test
	-@$(MAKE) --no-print-directory cluster
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=15 -m slow

bench: .venv/bench
	$(BIN)/python tests/benchmarks/bench.py $(if $(FULL),--full)

clean:
	rm -rf .venv output data/samples data/models

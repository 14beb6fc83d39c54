# What one does with the project; the work is in hack/.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The PostgreSQL majors whose images are built: 15 and 17 are tested.
export PG_MAJORS ?= 17
# More arguments for pytest: make test PYTEST_FLAGS='-m "not cluster" -x'
PYTEST_FLAGS ?=
# How many times `make test-long` backs the application up while something is killed; seven kill each thing once.
export HOLDFAST_FAULT_ROUNDS ?= 7
# Many tests wait for servers: two processes more than there are cores.
TEST_PROCESSES ?= $(shell echo $$(($$(nproc) + 2)))
# More arguments for `helm upgrade`: make deploy DEPLOY_FLAGS='--set operator.logLevel=DEBUG'
DEPLOY_FLAGS ?=

-include hack/cluster.mk
export CLUSTER
# Where it is set, each of some thousand Python processes of the tests would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE

PYTEST = .venv/bin/pytest --cluster-name=$(CLUSTER) --keep-cluster --kubeconfig=$(CLUSTER_KUBECONFIG) \
	--kind-bin="$$(hack/choose-kind)" --kind-kubectl-bin="$$(hack/tool kubectl)" \
	--numprocesses=$(TEST_PROCESSES) $(PYTEST_FLAGS)

.PHONY: help ahead demo test test-long venv lock images deploy manifests verify lint

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

ahead:
	@hack/ahead

demo: ahead deploy venv ## The whole story on the local cluster: backup, disaster, restore, comparison
	@.venv/bin/python -m hack.demo

test: PG_MAJORS = 15 17
test: venv ## Style, types, layers, then every test but the long ones, on the local cluster too
	@# The cluster mostly waits while it starts: the checks run beside it.
	@$(MAKE) --no-print-directory --jobs=3 lint verify deploy
	@$(PYTEST) --durations=20

test-long: PG_MAJORS = 15 17
test-long: venv deploy ## The long tests: more moments, more data; writes docs/test-long.txt when they pass
	@set -o pipefail; { echo "\$$ make test-long  # $$(date -u +%F), $$(nproc) cores"; \
	$(PYTEST) -m long --no-header --color=no -rP --show-capture=stdout --durations=0 | sed "s|$(CURDIR)|.|g"; } | tee .cluster/test-long.txt
	@mv .cluster/test-long.txt docs/test-long.txt

venv: ## Install the pinned Python packages into .venv
	@hack/prerequisites
	@hack/venv

lock: venv ## Pin every dependency anew from pyproject.toml, with hashes
	@hack/lock

images: ## Build the container images, by Docker or by buildah
	@hack/prerequisites
	@hack/images build

deploy: cluster images ## Install Holdfast on the local cluster by its chart
	@hack/deploy $(DEPLOY_FLAGS)

manifests: venv ## Generate crds/, their copies in the chart, and docs/reference
	@hack/manifests

verify: venv ## Fail when something generated is stale
	@hack/manifests --check

lint: venv ## Check style, types, layers and the chart
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	MYPYPATH=hack .venv/bin/mypy -p imagebuild -p onenode
	.venv/bin/lint-imports
	"$$(hack/tool helm)" lint --strict --quiet charts/holdfast

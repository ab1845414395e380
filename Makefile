# `make demo` and `make test` work as the first and only commands on a clean Debian 12 with git, make and python3.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Debian 12's own versions: etcd 3.4, Open vSwitch 3.1, Mininet 2.3.0. Services these packages may start are not
# used and not in the way: labs and tests run their own servers, in their own directories and on their own ports.
APT_PACKAGES := etcd-server etcd-client openvswitch-switch mininet python3-venv tcpdump iproute2 iputils-ping \
	iputils-arping iperf3 ethtool nftables netcat-openbsd socat isc-dhcp-client udhcpc bind9-dnsutils dnsmasq-base curl

BENCH_APT_PACKAGES := ovn-central ovn-host
BENCH_SERVICES := ovn-central ovn-host

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
# Debian's interpreter, so that Debian's mininet can be seen from the virtual environment.
SYSTEM_PYTHON := /usr/bin/python3
MININET := /usr/lib/python3/dist-packages/mininet
STAMPS := build/stamps

PROTOS = $(sort $(wildcard proto/cloison/v1/*.proto))
PROTO_OUT ?= proto
# Further arguments for pytest, as in `make test ARGS="-k dhcp -x"`.
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:  ## List the targets (this)
	@echo "Cloison. Targets of this Makefile:"
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' \
		| while IFS=$$'\t' read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done

.PHONY: deps
deps: apt $(STAMPS)/editable $(VENV)/.mininet  ## Install what is missing: Debian packages and the virtual environment

.PHONY: apt
apt:
	@missing=""; \
	for package in $(APT_PACKAGES); do \
		status=$$(dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null || true); \
		[ "$$status" = installed ] || missing="$$missing $$package"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	echo "Debian packages to install:$$missing"; \
	if [ "$$(id -u)" != 0 ]; then \
		echo "error: this needs root once. Run: sudo apt-get install$$missing" >&2; exit 1; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq; \
	apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends $$missing

$(STAMPS):
	@mkdir -p $@

# pyvenv.cfg stands for the environment: unlike bin/python, no symlink to a file with an old date.
$(VENV)/pyvenv.cfg: | apt
	$(SYSTEM_PYTHON) -m venv --clear $(VENV)

$(STAMPS)/requirements: .ci/requirements.txt $(VENV)/pyvenv.cfg | apt $(STAMPS)
	$(BIN)/pip install --quiet --requirement .ci/requirements.txt
	@touch $@

# The packages are already pinned and installed, setuptools included: nothing is fetched here.
$(STAMPS)/editable: setup.cfg pyproject.toml $(STAMPS)/requirements
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# One module of Debian's, not all of them (as --system-site-packages would bring).
$(VENV)/.mininet: $(VENV)/pyvenv.cfg | apt
	@ln -sfn $(MININET) "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/mininet"
	@touch $@

.PHONY: docs
docs: deps  ## Write docs/pipeline.md from the code
	$(PYTHON) -c "from controller.compiler.describe import pipeline_page; open('docs/pipeline.md', 'w').write(pipeline_page())"

.PHONY: proto
proto: deps  ## Generate the Python modules of proto/cloison/v1/*.proto (they are committed)
	@mkdir -p $(PROTO_OUT)
	$(PYTHON) -m grpc_tools.protoc --proto_path=proto \
		--proto_path="$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
		--python_out=$(PROTO_OUT) --pyi_out=$(PROTO_OUT) --grpc_python_out=$(PROTO_OUT) $(PROTOS)

.PHONY: proto-check
proto-check: deps
	@rm -rf build/proto
	@$(MAKE) --no-print-directory --silent proto PROTO_OUT=build/proto
	@cd build/proto && find . -type f | while read -r file; do \
		cmp -s "$$file" "../../proto/$$file" || { echo "error: proto/$$file is stale. Run: make proto" >&2; exit 1; }; \
	done

.PHONY: lint
lint: deps proto-check  ## Style, format, import rules, freshness of generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo --cache-dir build/import-linter

.PHONY: format
format: deps  ## Put the sources in form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: deps  ## Check the types (mypy, strict)
	$(BIN)/mypy

.PHONY: test-fast
test-fast: deps  ## Tests that need neither root nor servers; under a minute on two quiet cores
	$(BIN)/pytest -n 2 -m "not system and not lab and not slow" tests/unit $(ARGS)

.PHONY: test
test: root deps  ## All tests, with real etcd, Open vSwitch, kernel and Mininet; needs root
	EFFORT=full $(BIN)/pytest -n 2 -m "not system and not lab" $(ARGS)
	EFFORT=full $(BIN)/pytest -m "system or lab" $(ARGS)

.PHONY: mutants
mutants: deps  ## Damage correct states in many ways: is all harm caught? N= how many (10000), SEED=, OUT=FILE writes JSON
	$(PYTHON) -m tests.mutants --n $(or $(N),10000) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

.PHONY: agree
agree: root deps  ## Do meaning, symbolic switch, concrete switch and Open vSwitch say the same of random packets? N= (100000), TRACES= (5000)
	N=$(or $(N),100000) $(BIN)/pytest -n 2 --timeout 0 tests/property/test_verify_agreement.py
	TRACES=$(or $(TRACES),5000) $(BIN)/pytest --timeout 0 tests/system/test_verify_ofproto_trace.py

.PHONY: probe
probe: root deps  ## Send crafted frames of many kinds from a hostile guest: OUT=FILE writes JSON
	$(PYTHON) -m tests.probe $(if $(OUT),--out $(OUT))

.PHONY: soak
soak: root deps  ## Random changes and faults at once in a lab, for MINUTES= (10), SEED=; ARGS=--no-kills: how processes age; OUT=FILE writes JSON
	$(PYTHON) -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT)) $(ARGS)

.PHONY: bench
bench: root deps bench-apt  ## Speed, beside OVN in the same run: BENCH=long for all sizes, OUT=FILE writes JSON
	$(PYTHON) -m tests.bench $(if $(filter long,$(BENCH)),--long) $(if $(OUT),--out $(OUT)) $(ARGS)

# The peer of the benchmark, needed by nothing else. It is run privately: what the packages start is stopped.
.PHONY: bench-apt
bench-apt:
	@missing=""; \
	for package in $(BENCH_APT_PACKAGES); do \
		status=$$(dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null || true); \
		[ "$$status" = installed ] || missing="$$missing $$package"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	echo "Debian packages to install:$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq; \
	apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends $$missing; \
	[ ! -d /run/systemd/system ] || systemctl disable --quiet --now $(BENCH_SERVICES)

.PHONY: demo
demo: root deps  ## Two tenants with one address plan on three hosts: KEEP=1 leaves it up, OUT=FILE writes JSON
	$(PYTHON) -m topologies demo $(if $(KEEP),--keep) $(if $(OUT),--out $(OUT))

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { \
		echo "error: this makes network namespaces and starts Open vSwitch, so it needs root." >&2; \
		echo "       Run it as: sudo make $(MAKECMDGOALS)     (make test-fast needs no root)" >&2; exit 1; }

.PHONY: ci
ci:  ## What the CI runs: lint, types, all tests
	.ci/run

.PHONY: clean
clean:  ## Remove what was built, except the virtual environment
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find agent controller proto tests topologies -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean  ## Remove the virtual environment as well
	rm -rf $(VENV)

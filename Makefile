# The make targets of the project.  `make` lists them; everything built is under build/ and .venv/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# the lab keeps its namespaces and the tests their kernels: one target at a time
.NOTPARALLEL:

PYTHON := .venv/bin/python
CLANG := clang-19
BPFTOOL := PATH=$$PATH:/usr/sbin:/sbin bpftool
LIBBPF := build/libbpf
NAMES := $(patsubst bpf/%.bpf.c,%,$(wildcard bpf/*.bpf.c))
OBJECTS := $(NAMES:%=build/bpf/%.bpf.o)
MESSAGES := $(patsubst %.proto,%_pb2.py,$(wildcard agent/devices/kubelet/*.proto))
PACKAGES := deploy/build/packages.sh
# of pyproject.toml's: what is installed beside the agent
EXTRAS := dev
# of pytest: tests wait more than they work
WORKERS = $(shell echo $$(($$(nproc) + 1)))
# agents and tests are hundreds of processes: each would compile all that it imports
unexport PYTHONDONTWRITEBYTECODE
PYTHON_SOURCES := agent maps dpctl kubectl_sluiceway lab bench tests deploy
C_SOURCES = $(shell find $(wildcard bpf maps cni lab bench tests) -name '*.[ch]')

.PHONY: help setup packages bpffs build cnitool generate check test policy-fuzz disruption demo kernels fastpath fastpath-soak cluster cluster-day-one conformance conformance-all bench wheel plugin manifests image image-twice vagrant vagrant-box clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- what the rest stands on --------------------------------------------------------------------------------

setup: packages build ## Debian packages, .venv and everything that is compiled; quick when nothing changed
	@$(PACKAGES) check lab

packages:
	@$(PACKAGES) build clang run

build: .venv/.stamp $(OBJECTS) build/ext/.stamp build/cni/sluiceway-cni build/bpf/key $(MESSAGES) ## BPF objects, the libbpf extension, the CNI shim, the kubelet's messages

# the pins are in deploy/constraints.txt; bcc is Debian's and not PyPI's
.venv/.stamp: pyproject.toml deploy/constraints.txt deploy/build/hatch_build.py | packages
	[[ -x $(PYTHON) ]] || /usr/bin/python3 -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check -c deploy/constraints.txt hatchling
	.venv/bin/pip install -q --disable-pip-version-check -c deploy/constraints.txt --no-build-isolation -e '.[$(EXTRAS)]'
	ln -sfn /usr/lib/python3/dist-packages/bcc "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/bcc"
	touch $@

$(LIBBPF)/lib/libbpf.a: deploy/build/libbpf.sh | packages
	deploy/build/libbpf.sh $(LIBBPF)
	touch $@

# compiled, then linked alone: only a linked object has its variables' offsets in BTF
build/bpf/%.bpf.o: bpf/%.bpf.c bpf/cflags $(LIBBPF)/lib/libbpf.a
	@mkdir -p build/bpf/raw
	$(CLANG) @bpf/cflags -Ibpf -I$(LIBBPF)/include -idirafter /usr/include/$$(uname -m)-linux-gnu \
		-MMD -MP -MT $@ -MF build/bpf/raw/$*.d -c $< -o build/bpf/raw/$*.o
	$(BPFTOOL) gen object $@ build/bpf/raw/$*.o

# what of the datapath serves XDP as well, for the tests
build/tests/xdp.bpf.o: tests/bpf/xdp.bpf.c bpf/cflags $(LIBBPF)/lib/libbpf.a
	@mkdir -p build/tests
	$(CLANG) @bpf/cflags -Ibpf -I$(LIBBPF)/include -idirafter /usr/include/$$(uname -m)-linux-gnu \
		-MMD -MP -MT $@ -MF build/tests/xdp.d -c $< -o $@

-include $(wildcard build/bpf/raw/*.d build/tests/*.d)

# what the objects were made of: the agent compiles anew where it differs
build/bpf/key: $(OBJECTS) agent/kernel/programs/build.py | .venv/.stamp
	$(PYTHON) -m agent.kernel.programs.build >$@

build/ext/.stamp: $(wildcard maps/shim*.c maps/shim*.h) maps/libbpf_build.py $(LIBBPF)/lib/libbpf.a | .venv/.stamp
	@mkdir -p build/ext
	$(PYTHON) -m maps.libbpf_build build/ext $(LIBBPF)
	install -m 755 build/ext/_libbpf*.so maps/
	touch $@

# classes of what the kubelet's APIs carry, beside their .proto
%_pb2.py: %.proto | .venv/.stamp
	$(PYTHON) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. $<

# static: it runs from the host's CNI directory, whatever the host is; by musl, since glibc's start asks the CPU for all it
# knows of itself, and each such question is an exit to the hypervisor: 0.3 ms of every call
build/cni/sluiceway-cni: cni/sluiceway-cni.c | packages
	@mkdir -p build/cni
	install -m 644 /usr/share/doc/musl-dev/copyright build/cni/LICENSE.musl
	musl-gcc -std=gnu17 -O2 -Wall -Wextra -Werror -static -s -o $@ $<

# ---- the targets --------------------------------------------------------------------------------------------

generate: build ## maps/abi.py from the objects' BTF; the chart's options and pages of docs/ from their sources
	$(PYTHON) -m maps.abigen maps/abi.py $(OBJECTS)
	$(PYTHON) -m deploy.build.generated

# as systemd mounts it; where there is no systemd, nobody has
bpffs:
	@grep -q ' - bpf ' /proc/self/mountinfo || mount -t bpf bpf /sys/fs/bpf

check: setup bpffs build/tests/xdp.bpf.o ## style, types, layers of Python and C, room in the programs, and that what is generated is right
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy $(wildcard $(PYTHON_SOURCES))
	.venv/bin/lint-imports --no-cache
	$(PYTHON) deploy/build/bpf_contracts.py bpf
	$(PYTHON) deploy/build/bpf_room.py $(OBJECTS) build/tests/xdp.bpf.o
	clang-format-19 --dry-run --Werror $(C_SOURCES)
	$(PYTHON) -m maps.abigen build/abi.py $(OBJECTS)
	diff -u maps/abi.py build/abi.py
	$(PYTHON) -m deploy.build.generated --check

# libcni's driver of plugins; builds into the user's cache, and installs Go where there is none
cnitool: build
	@$(PYTHON) -m lab.kubernetes.build cni >/dev/null

test: setup bpffs cnitool build/tests/xdp.bpf.o ## everything that needs no Kubernetes binary
	@$(PACKAGES) vagrant
	.venv/bin/pytest -m 'not cluster and not alone and not fastpath' -n $(WORKERS) --dist loadfile
	.venv/bin/pytest -m alone

# every flow and packet against an evaluator that shares nothing with the agent; fails where one is wrong
policy-fuzz: setup bpffs build/tests/xdp.bpf.o ## 200,000 random flows under random policies against the tests' oracle
	$(PYTHON) -m tests.policy.fuzz --flows $(or $(FLOWS),200000) $(if $(SEED),--seed $(SEED))

# 1,000 new connections a second and 2,000 open ones, while all is exchanged that can be
disruption: setup bpffs ## for a minute at both hooks: backends roll, agents die, programs, maps and XDP are exchanged
	SLUICEWAY_DISRUPTION_S=60 .venv/bin/pytest -s tests/lab/test_disruption.py

demo: setup ## three nodes, real connections, real backends; ends with how to look further
	$(PYTHON) -m lab demo

kernels: setup ## every object under Debian's 6.1 and 6.12, in software emulation
	@$(PACKAGES) kernels
	$(PYTHON) -m tests.kernels.run

# functions of QEMU's igb: Debian 12's QEMU has none, so the backport is unpacked in the user's cache, as is Debian 13's DPDK
fastpath: setup bpffs ## real VFs in pods and back, in a guest with two cards and an IOMMU; DPDK's testpmd over AF_XDP in the lab
	@$(PACKAGES) kernels fastpath
	$(PYTHON) -m tests.fastpath.fetch
	.venv/bin/pytest -m fastpath -n 4 --dist loadfile -v tests/fastpath tests/lab tests/netns

fastpath-soak: setup bpffs ## 1,000 pods with two interfaces come and go, while the agent is killed every 50
	SLUICEWAY_SOAK_PODS=1000 .venv/bin/pytest tests/netns/test_network_soak.py

cluster: setup ## a real Kubernetes on this machine: lab up --kubernetes
	@$(PACKAGES) cluster image
	$(PYTHON) -m lab up --kubernetes

cluster-day-one: setup bpffs ## the walk-through of docs/install/kubeadm.md, typed on the lab's machines: kubeadm init to reset
	@$(PACKAGES) cluster image
	.venv/bin/pytest -s tests/vagrant/test_day_one.py

conformance: setup bpffs ## upstream's [sig-network] tests and tests/cluster, once per way of the packets
	@$(PACKAGES) cluster image
	$(PYTHON) -m lab conformance

# for longer than .ci/run has; fails where a test does that lab/conformance/known_failures.txt does not list
conformance-all: setup bpffs ## every [sig-network] test of upstream's that can apply, in each mode, and the policy API's suite
	@$(PACKAGES) cluster image
	$(PYTHON) -m lab conformance --all --document docs/conformance.md

bench: setup bpffs ## the speeds we stand for, as ratios
	$(PYTHON) -m bench

wheel: build ## dist/sluiceway-*.whl, with sources, objects, extension and shim inside
	$(PYTHON) -m build --wheel --no-isolation --outdir dist .

plugin: ## dist/kubectl-sluiceway: kubectl's plugin, one file for every Python 3.11
	python3 deploy/build/plugin.py dist

# no test runs it: it wants packages and images from outside
vagrant: ## three machines by Vagrant and libvirt, with kubeadm's cluster, the agent, nginx and a policy
	@[[ -n $$(compgen -G 'dist/sluiceway-*.oci.tar') ]] || $(MAKE) image
	@$(PACKAGES) vagrant machines
	cd vagrant && vagrant up --provider libvirt

# Kubernetes is built from its Go modules; what machines are then told is in vagrant/README.md
vagrant-box: image ## dist/sluiceway-kubernetes.box, for make vagrant where machines reach neither packages nor registries
	@$(PACKAGES) cluster vagrant box
	$(PYTHON) -m lab.kubernetes.box build/box
	vagrant/host/box.sh dist/sluiceway-kubernetes.box build/box

# builds Helm into the user's cache
manifests: build ## deploy/manifests and the tests' renders, from the chart
	$(PYTHON) -m deploy.build.manifests

image: setup ## dist/sluiceway-*.oci.tar, the agent's image, and its SBOM
	@$(PACKAGES) image
	$(PYTHON) deploy/build/image.py

image-twice: setup ## the image made twice from nothing: fails unless both have one digest
	@$(PACKAGES) image
	$(PYTHON) deploy/build/image.py --twice

clean: ## removes what was built; .venv stays
	rm -rf build dist maps/_libbpf*.so agent/devices/kubelet/*_pb2.py* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

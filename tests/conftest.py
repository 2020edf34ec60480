"""What a test needs of the machine, and what happens where the machine has it not.

A test says what it needs by its marker: ``kernel`` (loads BPF), ``netns`` (builds namespaces), ``cluster`` (the lab's
Kubernetes). Without it the test is skipped, with the reason; what ``SLUICEWAY_REQUIRE=kernel,netns,cluster`` names
fails instead, so that nothing is skipped unseen where it must run.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from maps import paths
from tests import behaviours

# how long an example takes says how busy the machine is
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

# linux/capability.h
CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF = 12, 21, 39


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--rewrite``: scenarios take what they get for what they expect; review the difference."""
    parser.addoption("--rewrite", action="store_true", help="renew what tests/scenarios/*.txt expect")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Rows that begin with a behaviour's number come first in a test's id (``tests/behaviours.py``)."""
    for found in metafunc.definition.iter_markers(behaviours.NAME):
        metafunc.parametrize(*found.args)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, a test whose needs are not met."""
    required = os.environ.get("SLUICEWAY_REQUIRE", "").split(",")
    for need, missing in NEEDS.items():
        if item.get_closest_marker(need) is None:
            continue
        reason = missing()
        if reason and need in required:
            pytest.fail(f"{need} is required, and {reason}", pytrace=False)
        if reason:
            pytest.skip(f"{need}: {reason}")


@cache
def missing_for_kernel() -> str:
    """Why no BPF program can be loaded here; empty when one can."""
    if not Path("/proc/sys/kernel/unprivileged_bpf_disabled").exists():
        return "this kernel has no bpf()"
    if not _capable(CAP_BPF, CAP_NET_ADMIN):
        return "this process may not load BPF: run as root"
    if not any(" - bpf " in line for line in _mounts()):
        return "no bpffs is mounted: mount -t bpf bpf /sys/fs/bpf"
    if not any(paths.objects().glob("*.bpf.o")):
        return "nothing is built: run `make build`"
    return ""


@cache
def missing_for_netns() -> str:
    """Why no network namespace can be made here; empty when one can."""
    if not _capable(CAP_SYS_ADMIN, CAP_NET_ADMIN):
        return "this process may not make namespaces: run as root"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip()


@cache
def missing_for_cluster() -> str:
    """Why no cluster can run here; empty when one can."""
    return missing_for_netns() or missing_for_kernel()


NEEDS = {"kernel": missing_for_kernel, "netns": missing_for_netns, "cluster": missing_for_cluster}


def _capable(*capabilities: int) -> bool:
    """Whether this process holds all of them."""
    status = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return all(held >> capability & 1 for capability in capabilities)


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()

"""What the agent refuses to run on, and what it says then."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import KernelTooOld, MountMissing, NotPermitted
from agent.kernel.programs.features import System, features, kernel_version
from agent.options.choices import L2Announce, ServiceProxy, SocketLb
from agent.options.config import Options

OPTIONS = Options(pin_root=Path("/sys/fs/bpf/sluiceway"))
GOOD = System(
    release="6.18.44-x",
    capabilities=(1 << 12) | (1 << 21),
    mountinfo="42 23 0:39 / /sys/fs/bpf rw,relatime - bpf bpf rw\n",
    cgroup_is_v2=True,
    has_btf=True,
    sysctls_are_writable=True,
)


@pytest.mark.parametrize(
    ("system", "error", "words"),
    [
        pytest.param(
            replace(GOOD, release="5.10.0-9"), KernelTooOld, "5.10.0-9; run Linux 6.1", id="the oldest kernel is 6.1"
        ),
        pytest.param(replace(GOOD, has_btf=False), KernelTooOld, "CONFIG_DEBUG_INFO_BTF", id="BTF is needed"),
        pytest.param(
            replace(GOOD, capabilities=0),
            NotPermitted,
            "give the process CAP_SYS_ADMIN and CAP_NET_ADMIN$",
            id="all that is missing is told at once",
        ),
        pytest.param(
            replace(GOOD, capabilities=1 << 12), NotPermitted, "CAP_SYS_ADMIN$", id="loading needs CAP_SYS_ADMIN"
        ),
        pytest.param(
            replace(GOOD, capabilities=1 << 21), NotPermitted, "CAP_NET_ADMIN$", id="attaching needs CAP_NET_ADMIN"
        ),
        pytest.param(replace(GOOD, mountinfo=""), MountMissing, "--pin-root", id="pins live on a bpffs"),
        pytest.param(
            replace(GOOD, cgroup_is_v2=False), MountMissing, "--socket-lb off", id="socket hooks need cgroup2"
        ),
        pytest.param(
            replace(GOOD, sysctls_are_writable=False),
            MountMissing,
            "/host/proc/sys/net$",
            id="a container needs the host's sysctls",
        ),
    ],
)
def test_a_node_that_cannot_is_told_what_is_missing(system: Any, error: Any, words: Any) -> None:
    with pytest.raises(error, match=words) as raised:
        features(OPTIONS, system)
    assert raised.value.exit_code == 3


def test_announcing_needs_packet_sockets() -> None:
    announcing = replace(OPTIONS, l2_announce=L2Announce.ON)
    with pytest.raises(NotPermitted, match=r"--l2-announce.*CAP_NET_RAW$"):
        features(announcing, GOOD)
    assert features(announcing, replace(GOOD, capabilities=GOOD.capabilities | 1 << 13)).tcx


def test_further_networks_need_the_nodes_root_where_the_agent_is_in_a_pod() -> None:
    networks = replace(OPTIONS, networks=True)
    in_pod = replace(GOOD, has_host_root=True)
    with pytest.raises(NotPermitted, match=r"--networks.*CAP_SYS_CHROOT$"):
        features(networks, in_pod)
    assert features(networks, replace(in_pod, capabilities=GOOD.capabilities | 1 << 18)).tcx
    assert features(networks, GOOD).tcx
    assert features(OPTIONS, in_pod).tcx


def test_without_the_socket_hook_no_cgroup2_is_needed() -> None:
    without = replace(GOOD, cgroup_is_v2=False)
    assert features(replace(OPTIONS, socket_lb=SocketLb.OFF), without).tcx
    assert features(replace(OPTIONS, service_proxy=ServiceProxy.OFF), without).tcx


@pytest.mark.parametrize(
    ("release", "tcx"), [("6.1.0-56-amd64", False), ("6.5.9", False), ("6.6", True), ("7.0", True)]
)
def test_tcx_is_used_from_6_6(release: Any, tcx: Any) -> None:
    assert features(OPTIONS, replace(GOOD, release=release)).tcx is tcx


def test_a_release_that_names_no_version_is_no_kernel_we_know() -> None:
    assert kernel_version("custom") == (0, 0)

"""A pod's packet carries the processed mark, so the uplink's hook leaves it alone; the node's own do not."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from agent.compile.settings import NetworkSettings
from agent.model.address import Address
from agent.options.choices import Encapsulation
from bench import tools
from bench.nodes import NODES, UPLINK, TwoNodes, address, with_agent
from bench.stream import tail_call
from maps import abi, libbpf, mapio
from maps.libbpf import AttachType
from maps.object import Object
from tests.bpf.datapath import NODE, REMOTE, TC_ACT_REDIRECT, TC_ACT_UNSPEC, VIP, Datapath, frame, syn
from tests.bpf.uplink import routed

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

FAMILIES = pytest.mark.parametrize("version", [pytest.param(4, id="ipv4"), pytest.param(6, id="ipv6")])
ECHOES = 3


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Object]:
    """The programs of processed_mark.bpf.c."""
    folder = tmp_path_factory.mktemp("processed_mark")
    with Object.open(tools.bpf_object("processed_mark", folder, Path(__file__).parent)) as found:
        found.load()
        yield found


def left(counting: Object) -> tuple[int, int]:
    """Packets that left the node since the programs were loaded: without the processed mark, and with it."""
    found = (mapio.lookup(counting.map_fd("left"), bytes([which, 0, 0, 0]), 8) or b"" for which in (0, 1))
    unmarked, marked = (int.from_bytes(value, "little") for value in found)
    return unmarked, marked


@pytest.fixture(scope="module", params=list(Encapsulation))
def nodes(request: pytest.FixtureRequest, counting: Object) -> Iterator[TwoNodes]:
    """Two nodes in a mode, the programs behind ours on the first one's uplink."""
    with with_agent("marked", 1400, NetworkSettings(request.param, has_geneve=False)) as found:
        with found.bed.inside(NODES[0].name):
            ifindex = int(found.bed.run(NODES[0].name, "cat", f"/sys/class/net/{UPLINK}/ifindex"))
            link = libbpf.link_create(counting.program_fd("count"), ifindex, AttachType.TCX_EGRESS)
        yield found
        os.close(link)


def ping(nodes: TwoNodes, member: str, to: str) -> None:
    subprocess.run(
        ["nsenter", f"--net={nodes.bed.path(member)}", "ping", "-q", "-c", str(ECHOES), "-i", "0.01", "-W", "1", to],
        check=True,
        stdout=subprocess.DEVNULL,
    )


@FAMILIES
def test_what_a_pod_sends_leaves_with_the_mark(nodes: TwoNodes, counting: Object, version: int) -> None:
    for to in (of_family(NODES[1].internal_ips, version), address("far", version)):
        _, marked = left(counting)
        ping(nodes, "asking", to)
        assert left(counting)[1] - marked == (0 if is_exchanged(nodes) else ECHOES)


@FAMILIES
def test_what_the_node_itself_sends_leaves_without_the_mark(nodes: TwoNodes, counting: Object, version: int) -> None:
    unmarked, marked = left(counting)
    ping(nodes, NODES[0].name, of_family(NODES[1].internal_ips, version))
    assert left(counting)[1] == marked
    assert left(counting)[0] >= unmarked + ECHOES


def of_family(addresses: tuple[Address, ...], version: int) -> str:
    return str(next(a for a in addresses if a.version == version))


def is_exchanged(nodes: TwoNodes) -> bool:
    """Whether the uplink's program has to see what was encapsulated, to give it Geneve's header."""
    return bool(cast(abi.Node, nodes.planes[0].tables["node"].get(0)).flags & abi.NodeFlag.NODE_GENEVE)


def test_the_uplinks_hook_leaves_alone_what_has_the_mark(counting: Object) -> None:
    datapath = Datapath.load()
    try:
        with routed() as device:
            datapath.service(VIP, 80, [(REMOTE, 8080, False)])
            asked = frame(NODE, VIP, syn())
            tail_call(counting.map_fd("next"), datapath.objects["tc_uplink"].program_fd("uplink_egress"))
            context = b"".join([bytes(40), device.to_bytes(4, "little"), bytes(148)])
            done = libbpf.test_run(counting.program_fd("with_mark"), bytes(asked), context=context)
            assert (done.retval, done.packet) == (TC_ACT_UNSPEC, bytes(asked))
            assert datapath.run("uplink_egress", asked, device).verdict == TC_ACT_REDIRECT
    finally:
        datapath.close()

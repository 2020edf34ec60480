"""A pod's packet is judged once on its node: the uplink's hook leaves it alone, and looks at the node's own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from agent.compile.settings import NetworkSettings
from agent.model.address import Address
from agent.options.config import Encapsulation
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
def looking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Object]:
    """The programs of judged.bpf.c."""
    with Object.open(tools.bpf_object("judged", tmp_path_factory.mktemp("judged"), Path(__file__).parent)) as found:
        found.load()
        yield found


def left(looking: Object) -> tuple[int, int]:
    """Packets that left the node since the programs were loaded: not judged before, and judged."""
    found = (mapio.lookup(looking.map_fd("left"), bytes([which, 0, 0, 0]), 8) or b"" for which in (0, 1))
    others, judged = (int.from_bytes(value, "little") for value in found)
    return others, judged


@pytest.fixture(scope="module", params=list(Encapsulation))
def nodes(request: pytest.FixtureRequest, looking: Object) -> Iterator[TwoNodes]:
    """Two nodes in a mode, the programs behind ours on the first one's uplink."""
    with with_agent("judged", 1400, NetworkSettings(request.param, has_geneve=False)) as found:
        with found.bed.inside(NODES[0].name):
            ifindex = int(found.bed.run(NODES[0].name, "cat", f"/sys/class/net/{UPLINK}/ifindex"))
            link = libbpf.link_create(looking.program_fd("look"), ifindex, AttachType.TCX_EGRESS)
        yield found
        os.close(link)


def ping(nodes: TwoNodes, member: str, to: str) -> None:
    subprocess.run(
        ["nsenter", f"--net={nodes.bed.path(member)}", "ping", "-q", "-c", str(ECHOES), "-i", "0.01", "-W", "1", to],
        check=True,
        stdout=subprocess.DEVNULL,
    )


@FAMILIES
def test_what_a_pod_sends_leaves_as_judged(nodes: TwoNodes, looking: Object, version: int) -> None:
    for to in (of_family(NODES[1].internal_ips, version), address("far", version)):
        _, judged = left(looking)
        ping(nodes, "asking", to)
        assert left(looking)[1] - judged == (0 if is_exchanged(nodes) else ECHOES)


@FAMILIES
def test_what_the_node_sends_itself_is_looked_at(nodes: TwoNodes, looking: Object, version: int) -> None:
    others, judged = left(looking)
    ping(nodes, NODES[0].name, of_family(NODES[1].internal_ips, version))
    assert left(looking)[1] == judged
    assert left(looking)[0] >= others + ECHOES


def of_family(addresses: tuple[Address, ...], version: int) -> str:
    return str(next(a for a in addresses if a.version == version))


def is_exchanged(nodes: TwoNodes) -> bool:
    """Whether the uplink's program has to see what was encapsulated, to give it Geneve's header."""
    return bool(cast(abi.Node, nodes.planes[0].tables["node"].get(0)).flags & abi.NodeFlag.NODE_GENEVE)


def test_the_uplinks_hook_leaves_alone_what_was_judged(looking: Object) -> None:
    datapath = Datapath.load()
    try:
        with routed() as device:
            datapath.service(VIP, 80, [(REMOTE, 8080, False)])
            asked = frame(NODE, VIP, syn())
            tail_call(looking.map_fd("next"), datapath.objects["tc_uplink"].program_fd("uplink_egress"))
            context = b"".join([bytes(40), device.to_bytes(4, "little"), bytes(148)])
            done = libbpf.test_run(looking.program_fd("after_judgement"), bytes(asked), context=context)
            assert (done.retval, done.packet) == (TC_ACT_UNSPEC, bytes(asked))
            assert datapath.run("uplink_egress", asked, device).verdict == TC_ACT_REDIRECT
    finally:
        datapath.close()

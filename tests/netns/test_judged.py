"""A pod's packet is judged once on its node: the uplink's hook leaves it alone, and looks at the node's own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.compile.between import Between
from agent.config import Encapsulation
from bench import tools
from bench.nodes import NODES, UPLINK, TwoNodes, address, with_agent
from bench.stream import tail_call
from maps import libbpf, mapio
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
    with with_agent("judged", 1400, Between(request.param)) as found:
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
def test_what_a_pod_sends_as_it_is_leaves_as_judged(nodes: TwoNodes, looking: Object, version: int) -> None:
    _, judged = left(looking)
    ping(nodes, "asking", str(next(a for a in NODES[1].internal_ips if a.version == version)))
    encapsulated = "swtunnel" in nodes.bed.run(NODES[0].name, "ip", "-o", "link", "show")
    # what was encapsulated is another packet, and to be seen
    assert left(looking)[1] == judged + (0 if encapsulated else ECHOES)


@FAMILIES
def test_what_the_node_sends_itself_is_looked_at(nodes: TwoNodes, looking: Object, version: int) -> None:
    others, judged = left(looking)
    ping(nodes, NODES[0].name, str(next(a for a in NODES[1].internal_ips if a.version == version)))
    ping(nodes, NODES[0].name, address("far", version))
    assert left(looking)[1] == judged
    assert left(looking)[0] >= others + 2 * ECHOES


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

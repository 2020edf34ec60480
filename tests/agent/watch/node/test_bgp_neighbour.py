"""Who is at the other end of an interface, and what a source tells of it."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

import pytest

from agent.model.bgp import BgpPeer
from agent.model.name import ObjectName
from agent.model.node import Node
from agent.threads import Threads
from agent.watch.decode.bgp_peer import BGP_PEER
from agent.watch.decode.kind import Decoded
from agent.watch.decode.node import NODE
from agent.watch.mirror import Mirror
from agent.watch.node import bgp_neighbour
from agent.watch.node.bgp_neighbour import LATER_S, PATIENCE_S, NeighbourSource, neighbours
from tests.agent.kernel.nets import in_new_netns

NEAR, FAR = "fe80::a", "fe80::b"
TRIES = 20  # a busy machine may answer later than is waited for, as who asks again in time does not mind


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _link() -> Iterator[subprocess.Popen[bytes]]:
    """A veth to another namespace, whose holder is given; both ends have an address of the link."""
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.read(1)  # it is in its namespace
    try:
        _ip(f"link add p0 type veth peer name p0 netns {holder.pid}")
        for inside, address in (("", NEAR), (f"nsenter -n -t {holder.pid} ", FAR)):
            for words in ("link set p0 addrgenmode none", "link set lo up", "link set p0 up"):
                subprocess.run([*inside.split(), "ip", *words.split()], check=True)
            subprocess.run([*inside.split(), "ip", "addr", "add", f"{address}/64", "dev", "p0", "nodad"], check=True)
        yield holder
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.netns
def test_the_other_end_answers_and_what_is_not_there_does_not() -> None:
    def play() -> tuple[tuple[IPv6Address, ...], ...]:
        for _ in _link():
            tries = (neighbours("p0") for _ in range(TRIES))
            return next(filter(None, tries), ()), neighbours("p9"), neighbours("lo")
        raise AssertionError

    assert in_new_netns(play) == ((IPv6Address(FAR),), (), ())


@dataclass(slots=True)
class Link:
    """What answers, and when it is."""

    found: tuple[IPv6Address, ...] = ()
    now: float = 100.0
    asked: int = 0

    def neighbours(self, _: str) -> tuple[IPv6Address, ...]:
        """Takes its place."""
        self.asked += 1
        return self.found


def test_one_that_is_found_is_kept_until_another_is_and_asked_for_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    link, mirror = Link(), Mirror(lambda _: None, ())
    monkeypatch.setattr(bgp_neighbour, "neighbours", link.neighbours)
    monkeypatch.setattr("time.monotonic", lambda: link.now)
    name = ObjectName("", "tor")
    mirror.replace(NODE, [Decoded(NODE, ObjectName("", "n1"), Node("n1"))])
    source = NeighbourSource("n1", mirror, Threads())
    mirror.replace(BGP_PEER, [])
    source.look()
    assert link.asked == 0, "no peer has an interface"
    mirror.replace(BGP_PEER, [Decoded(BGP_PEER, name, BgpPeer("tor", interface="p0"))])

    def seen(*found: str, after_s: float = 2.0) -> list[str]:
        link.found, link.now = tuple(map(IPv6Address, found)), link.now + after_s
        source.look()
        return sorted(map(str, mirror.cluster.bgp_neighbours.by_interface.get("p0", ())))

    assert seen() == []
    assert seen(FAR) == [FAR]
    assert seen(NEAR) == [FAR], "not asked again so soon"
    assert seen(after_s=LATER_S) == [FAR], "silence is no answer"
    assert seen(NEAR, after_s=LATER_S) == [NEAR]
    assert seen(NEAR, FAR, after_s=LATER_S) == [NEAR], "it was there before the other"
    mirror.replace(BGP_PEER, [])
    source.look()
    assert mirror.cluster.bgp_neighbours.by_interface == {}


def test_who_has_an_established_session_stays_whoever_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    link, mirror, held = Link((IPv6Address(NEAR),)), Mirror(lambda _: None, ()), {"p0": IPv6Address(FAR)}
    monkeypatch.setattr(bgp_neighbour, "neighbours", link.neighbours)
    mirror.replace(NODE, [])
    mirror.replace(BGP_PEER, [Decoded(BGP_PEER, ObjectName("", "tor"), BgpPeer("tor", interface="p0"))])
    source = NeighbourSource("n1", mirror, Threads(), lambda: held)
    source.look()
    assert mirror.cluster.bgp_neighbours.by_interface == {"p0": frozenset({IPv6Address(FAR)})}
    link.found = (IPv6Address(NEAR), IPv6Address("fe80::c"))
    held.clear()
    source.look()
    assert mirror.cluster.bgp_neighbours.by_interface == {"p0": frozenset(link.found)}, "of several none is chosen"


def test_an_agent_that_starts_tells_of_none_before_all_have_answered_or_had_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = Link()
    monkeypatch.setattr(bgp_neighbour, "neighbours", link.neighbours)
    monkeypatch.setattr("time.monotonic", lambda: link.now)

    def started() -> tuple[Mirror, NeighbourSource]:
        mirror = Mirror(lambda _: None, (), routes=True)
        mirror.replace(NODE, [Decoded(NODE, ObjectName("", "n1"), Node("n1"))])
        return mirror, NeighbourSource("n1", mirror, Threads())

    def known(mirror: Mirror, source: NeighbourSource, *found: str) -> tuple[bool, list[str]]:
        link.found = tuple(map(IPv6Address, found))
        source.look()
        now = mirror.cluster.bgp_neighbours
        return now.is_known, sorted(map(str, now.by_interface.get("p0", ())))

    at_p0 = [Decoded(BGP_PEER, ObjectName("", "tor"), BgpPeer("tor", interface="p0"))]
    mirror, source = started()
    assert known(mirror, source, FAR) == (False, []), "BGPPeers are not known"
    mirror.replace(BGP_PEER, at_p0)
    assert known(mirror, source) == (False, []), "it has time to answer"
    assert known(mirror, source, FAR) == (True, [FAR])

    silent, source = started()
    silent.replace(BGP_PEER, at_p0)
    assert known(silent, source) == (False, [])
    link.now += PATIENCE_S
    assert known(silent, source) == (True, []), "one that is dead holds up no other"
    assert known(silent, source, FAR) == (True, [FAR])

    without, source = started()
    without.replace(BGP_PEER, [])
    assert known(without, source) == (True, [])

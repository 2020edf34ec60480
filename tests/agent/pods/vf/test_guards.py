"""VFs that policy and services are for: guarded before pods have them, in the places of attachments, and no longer."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.pods.errors import DeviceUnusable
from agent.pods.vf.record import vf_journal
from maps.errors import KernelRefused
from tests.agent.pods.vf.test_vfs import DPDK, KEY, NETDEV, SETTINGS, request
from tests.agent.pods.vf.vf_card import ADDRESS, HOME, FakeLoop, VfNode


@pytest.fixture
def node(tmp_path: Path) -> VfNode:
    return VfNode(tmp_path)


def test_a_netdev_with_addresses_is_an_attachment_with_programs_in_the_pod(node: VfNode) -> None:
    node.taken = (1, 2)
    record = node.agent().add(request())
    (attachment,) = node.loop.attached.values()
    assert node.programs.on == {ADDRESS: attachment}
    assert (attachment.slot, attachment.key, str(attachment.ipv4)) == (3, KEY, "10.9.0.2")
    assert (attachment.pod, attachment.mac, attachment.is_in_pod) == (record.pod, SETTINGS.mac, True)
    assert attachment.link.in_pod is not None
    assert [str(one) for one in attachment.link.in_pod.own] == ["10.9.0.2", "fe80::ff:fe00:a"]


def test_a_netdev_has_its_programs_before_its_pod_has_it(node: VfNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is up has an address of its link, and senders to it, however long an IPAM plugin takes."""
    seen: list[tuple[str, str, bool]] = []

    def note(what: str, does: Callable[..., object]) -> Callable[..., object]:
        def noting(*given: object) -> object:
            seen.append((what, node.card.where[ADDRESS], node.card.devices[ADDRESS].is_up))
            return does(*given)

        return noting

    monkeypatch.setattr(node.ipam, "add", note("IPAM", node.ipam.add))
    monkeypatch.setattr(node.programs, "attach", note("programs", node.programs.attach))
    monkeypatch.setattr(FakeLoop, "attach", note("maps", lambda *_: None))
    node.agent().add(request())
    assert seen == [("IPAM", HOME, False), ("programs", HOME, False), ("maps", HOME, False)]
    assert node.card.devices[ADDRESS].is_up


@pytest.mark.parametrize("why", ["dpdk", "no ipam", "no tcx"])
def test_what_cannot_be_guarded_is_no_attachment(node: VfNode, why: str) -> None:
    if why == "no ipam":
        node.ipam.gives = {}
    node.programs.is_possible = why != "no tcx"
    record = node.agent().add(request(DPDK if why == "dpdk" else NETDEV))
    assert (record.slot, node.programs.on, node.loop.attached) == (0, {}, {})


def test_a_program_that_is_refused_is_an_add_that_is_refused(node: VfNode) -> None:
    agent, before = node.agent(), node.card.snapshot()
    node.programs.refuses = True
    with pytest.raises(KernelRefused):
        agent.add(request())
    assert (node.card.snapshot(), node.programs.on, node.loop.attached) == (before, {}, {})
    node.programs.refuses = False
    agent.add(request())
    assert [*node.loop.attached] == [1], "its slot was given back"


def test_more_addresses_than_the_programs_know_are_refused(node: VfNode) -> None:
    node.ipam.gives = {"ips": [{"address": f"10.9.0.{number}/24"} for number in range(2, 10)]}
    with pytest.raises(DeviceUnusable, match="ipam: 8 addresses; a device has 7 at most"):
        node.agent().add(request())
    assert (node.programs.on, node.loop.attached, node.files()) == ({}, {}, [])


def test_the_next_agent_knows_it_at_its_place(node: VfNode) -> None:
    node.agent().add(request())
    before = dict(node.loop.attached)
    node.agent()
    assert node.loop.attached == before
    node.taken = (1,)
    agent = node.agent()
    assert [*node.loop.attached] == [2], "another one where that is taken"
    assert agent.find(KEY) in vf_journal(node.directory / "state", "boot").load()[0]
    agent.delete(KEY)
    assert (node.programs.on, node.loop.attached) == ({}, {})


def test_a_record_whose_routes_no_agent_would_take_any_more_stops_no_agent(node: VfNode) -> None:
    record = node.agent().add(request())
    given = {**record.given, "routes": [{"dst": "0.0.0.0/0", "mtu": "1400", "priority": -1}]}
    vf_journal(node.directory / "state", "boot").put(msgspec.structs.replace(record, given=given))
    agent = node.agent()
    assert [one.key for one in node.loop.attached.values()] == [KEY]
    agent.delete(KEY)
    assert (node.programs.on, node.loop.attached, node.files()) == ({}, {}, [])


def test_check_misses_programs(node: VfNode) -> None:
    agent = node.agent()
    record = agent.add(request())
    node.programs.on.clear()
    assert tuple(agent.check(record)) == ("the programs are not on net1",)

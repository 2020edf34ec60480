"""VFs whose pods have ended are what they were, wherever the agent died, and are no pod's before."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.kernel.device.pci import DeviceRefused
from agent.model.vf import VfSpec
from agent.pods import fail_points
from agent.pods.device.record import DeviceStage
from agent.pods.errors import (
    DeviceInUse,
    DeviceUnusable,
)
from agent.pods.plugin import PluginFailed
from tests.agent.pods.vf.test_vfs import DPDK, KEY, NETDEV, request
from tests.agent.pods.vf.vf_card import ADDRESS, HOME, OTHER, VfNode


class Died(BaseException):
    """The process is gone: nothing behind it is done."""


@pytest.fixture
def node(tmp_path: Path) -> VfNode:
    return VfNode(tmp_path)


def die_at(point: str) -> Callable[[str], None]:
    def reached(now: str) -> None:
        if now == point:
            raise Died

    return reached


@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
@pytest.mark.parametrize("netns_ends", [False, True], ids=["its pod lives", "its pod is gone too"])
@pytest.mark.parametrize("point", [*fail_points.VF_ADD, *fail_points.VF_DEL])
def test_an_agent_that_dies_anywhere_leaves_what_the_next_one_puts_right(
    node: VfNode, spec: VfSpec, point: str, monkeypatch: pytest.MonkeyPatch, *, netns_ends: bool
) -> None:
    before, agent = node.card.snapshot(), node.agent()
    is_del = point in fail_points.VF_DEL
    if is_del:
        agent.add(request(spec))
    monkeypatch.setattr(fail_points, "reached", die_at(point))
    with pytest.raises(Died):
        agent.delete(KEY) if is_del else agent.add(request(spec))
    monkeypatch.undo()
    if netns_ends:
        node.card.end_netns("/run/netns/p1")
    agent = node.agent()
    if point == fail_points.VF_ADD[-1] and not netns_ends:  # whole, though its runtime has not heard of it
        assert agent.find(KEY) is not None
        agent.delete(KEY)
    assert node.card.snapshot() == before
    assert (node.ipam.held, node.files()) == ({}, [])
    assert (node.programs.on, node.loop.attached) == ({}, {})


@given(
    points=st.lists(st.sampled_from([*fail_points.VF_ADD, *fail_points.VF_DEL, ""]), max_size=6),
    spec=st.sampled_from([NETDEV, DPDK]),
)
def test_agents_that_die_one_after_the_other_lose_nothing(
    points: list[str], spec: VfSpec, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also while the next one puts right what the last one left."""
    node = VfNode(tmp_path_factory.mktemp("node"))
    before = node.card.snapshot()
    for point in points:
        fail_points.reached, plain = die_at(point), fail_points.reached
        try:
            agent = node.agent()
            if agent.find(KEY) is None:
                agent.add(request(spec))
            agent.delete(KEY)
        except Died:
            pass
        finally:
            fail_points.reached = plain
    node.agent().delete(KEY)
    assert node.card.snapshot() == before
    assert (node.ipam.held, node.files()) == ({}, [])
    assert (node.programs.on, node.loop.attached) == ({}, {})


@pytest.mark.parametrize("by", ["collect", "DEL", "another ADD", "a start"])
def test_the_vf_of_a_pod_that_went_without_a_del_comes_home(node: VfNode, by: str) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.card.end_netns("/run/netns/p1")
    assert node.card.where[ADDRESS] == HOME
    match by:
        case "collect":
            agent.collect()
        case "DEL":
            agent.delete(KEY)
        case "another ADD":
            agent.add(request(container="c2", netns="/run/netns/p2"))
            agent.delete(("c2", "net1"))
        case _:
            node.agent()
    assert node.card.snapshot() == before
    assert (node.ipam.held, node.files()) == ({}, [])
    assert (node.programs.on, node.loop.attached) == ({}, {})


@pytest.mark.parametrize("dies", [True, False])
def test_what_would_keep_a_vf_from_pods_is_no_reason_for_it_to_stay_with_one(node: VfNode, *, dies: bool) -> None:
    """As where the node has put it into a bridge as soon as the kernel had brought it."""
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.card.above[ADDRESS] = ("br0",)
    agent = node.agent() if dies else agent
    agent.collect()
    assert (node.card.where[ADDRESS], len(agent.all())) == ("/run/netns/p1", 1)
    agent.delete(KEY)
    assert (node.card.snapshot(), agent.all(), node.files()) == (before, (), [])
    with pytest.raises(DeviceUnusable, match="br0 of the node would lose ens1v0"):
        agent.add(request())


def test_a_living_pods_vf_is_left_alone_by_a_start_and_by_a_look(node: VfNode) -> None:
    node.agent().add(request())
    with_pod = node.card.snapshot()
    node.agent().collect()
    assert node.card.snapshot() == with_pod


@pytest.mark.parametrize("call", ["netns_cookie", "in_pod"])
def test_a_vf_of_whom_nothing_can_be_seen_stays_with_its_pod(
    node: VfNode, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def short(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    agent = node.agent()
    agent.add(request())
    with_pod, files = node.card.snapshot(), node.files()
    with monkeypatch.context() as patched:
        patched.setattr(node.card, call, short)
        agent.collect()
        node.agent()
    assert node.card.snapshot() == with_pod
    assert (node.files(), len(agent.all())) == (files, 1)


def test_a_look_for_dead_pods_leaves_a_vf_to_the_add_that_is_at_it(
    node: VfNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = node.agent()
    looked: list[str] = []

    def look(point: str) -> None:
        if point in fail_points.VF_ADD and not looked:
            looked.append(point)
            agent.collect()

    monkeypatch.setattr(fail_points, "reached", look)
    record = agent.add(request())
    assert looked
    assert (record.stage, node.card.where[ADDRESS]) == (DeviceStage.ADDED, "/run/netns/p1")


def test_after_a_reboot_there_is_nothing_to_restore(node: VfNode) -> None:
    node.agent().add(request())
    folder = node.directory / "state/vfs"
    (folder / "boot").rename(folder / "an earlier boot")
    agent = node.agent()
    assert (agent.all(), list(folder.iterdir())) == ((), [])


@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
def test_a_vf_whose_pf_has_no_device_now_comes_home_when_it_has(node: VfNode, spec: VfSpec) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request(spec))
    node.card.is_pf_away = True
    with pytest.raises(DeviceRefused, match="has no network device"):
        agent.delete(KEY)
    assert "has no network device" in next(agent.problems("n1", {})).text
    agent = node.agent()
    node.card.is_pf_away = False
    agent.collect()
    assert (node.card.snapshot(), agent.all(), node.files()) == (before, (), [])


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("spec", [NETDEV, DPDK], ids=["netdev", "dpdk"])
def test_a_vf_whose_name_is_taken_is_no_pods_until_it_has_it(node: VfNode, spec: VfSpec, *, starts: bool) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request(spec))
    node.card.taken.add((HOME, "ens1v0"))
    assert agent.delete(KEY), "the pod may go"
    comings = node.card.comings
    agent = node.agent() if starts else agent
    agent.collect()
    with pytest.raises(DeviceInUse, match="the name ens1v0"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    assert "the name ens1v0" in next(agent.problems("n1", {})).text
    assert (node.card.comings, node.card.devices[ADDRESS].mac) == (comings, "02:00:00:00:00:00"), "it is left alone"
    node.card.taken.clear()
    agent.collect()
    assert (node.card.snapshot(), agent.all(), node.files()) == (before, (), [])


def test_a_vf_that_lacks_its_name_and_settings_has_both_again(node: VfNode) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.card.taken.add((HOME, "ens1v0"))
    node.card.refuses = {"vlan": "busy"}
    with pytest.raises(DeviceRefused, match="busy; the name ens1v0"):
        agent.delete(KEY)
    node.card.taken.clear()
    node.card.refuses = {}
    agent.collect()
    assert (node.card.snapshot(), agent.all(), node.files()) == (before, (), [])


def test_a_vf_that_is_gone_is_nobodys(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request())
    del node.card.vfs[ADDRESS]
    agent.delete(KEY)
    assert (agent.all(), node.files(), node.programs.on, node.loop.attached) == ((), [], {}, {})


def test_a_vf_that_cannot_come_home_is_tried_again_and_given_to_nobody(node: VfNode) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    del node.card.netns["/run/netns/p1"]  # its path; somebody holds the namespace
    agent.collect()
    with pytest.raises(DeviceInUse, match="nobody names"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    node.card.where[ADDRESS] = HOME
    agent.collect()
    assert node.card.snapshot() == before
    assert agent.all() == ()


def test_a_setting_that_cannot_be_restored_keeps_the_vf_from_others_until_it_is(node: VfNode) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.card.refuses["vlan"] = "not now"
    with pytest.raises(DeviceRefused, match="is not as it was: vlan: 0"):
        agent.delete(KEY)
    with pytest.raises(DeviceInUse, match="not now"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    (problem,) = agent.problems("n1", {})
    assert (problem.kind, problem.field, "not now" in problem.text) == ("Node", f"VF {ADDRESS}", True)
    node.card.refuses.clear()
    agent.collect()
    assert node.card.snapshot() == before
    assert not tuple(agent.problems("n1", {}))


def test_a_driver_that_takes_no_address_back_is_no_reason_to_keep_a_vf(node: VfNode) -> None:
    agent = node.agent()
    agent.add(request())
    node.card.refuses["mac"] = "no zeros"
    agent.delete(KEY)
    assert agent.all() == ()


def test_what_ipam_does_not_take_back_is_tried_again_with_the_vf_at_home(node: VfNode) -> None:
    before, agent = node.card.snapshot(), node.agent()
    agent.add(request())
    node.ipam.refuses.add("DEL")
    with pytest.raises(PluginFailed):
        agent.delete(KEY)
    assert node.card.snapshot() == before
    node.ipam.refuses.clear()
    agent.delete(KEY)
    assert (node.ipam.held, node.files()) == ({}, [])
    assert (node.programs.on, node.loop.attached) == ({}, {})


def test_what_a_writer_that_died_left_goes_with_the_next_start(node: VfNode) -> None:
    node.agent().add(request())
    draft = node.directory / f"state/vfs/boot/{OTHER}.draft"
    draft.write_bytes(b'{"address":')
    node.agent()
    assert not draft.exists()


def test_a_late_request_to_remove_spares_a_younger_vf(node: VfNode) -> None:
    agent = node.agent()
    agent.add(replace(request(), asked_at_ns=500))
    assert agent.delete(KEY, asked_at_ns=499)
    assert agent.find(KEY) is not None
    assert agent.delete(KEY, asked_at_ns=501)
    assert not agent.delete(KEY)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: content[:-9], id="cut"),
        pytest.param(lambda content: content.replace(b"/run/netns", b"\xff"), id="not UTF-8"),
    ],
)
def test_a_record_that_cannot_be_read_keeps_its_vf_from_pods_and_is_told(
    node: VfNode, spoil: Callable[[bytes], bytes]
) -> None:
    node.agent().add(request())
    file = node.directory / f"state/vfs/boot/{ADDRESS}.json"
    file.write_bytes(spoil(file.read_bytes()))
    agent = node.agent()
    with pytest.raises(DeviceUnusable, match="cannot be read"):
        agent.add(request(container="c2", netns="/run/netns/p2"))
    (problem,) = agent.problems("n1", {})
    assert ADDRESS in problem.field
    agent.add(request(container="c2", netns="/run/netns/p2", address=OTHER))

"""A device of the node that a pod has itself is nobody else's, nor above one that another pod has, at any moment."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest

from agent.model.nic import NicKind, NicSpec
from agent.model.vf import VfKind, VfSettings, VfSpec
from agent.pods import fail_points
from agent.pods.errors import DeviceInUse
from agent.pods.nic import nics
from agent.pods.vf.request import VfRequest
from tests.agent.pods.nic.nic_node import MASTER, NicNode
from tests.agent.pods.nic.test_nics import KEY, MACVLAN, MOVED, request
from tests.agent.pods.vf.vf_card import ADDRESS, VfNode


@pytest.fixture
def node(tmp_path: Path) -> NicNode:
    return NicNode(tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(MACVLAN, id="macvlan"),
        pytest.param(NicSpec(NicKind.IPVLAN, MASTER), id="ipvlan"),
        pytest.param(NicSpec(NicKind.VLAN, MASTER, vlan=5), id="vlan"),
        pytest.param(replace(MOVED, device=MASTER), id="host-device"),
    ],
)
def test_of_two_at_one_moment_of_whom_one_wants_the_device_alone_one_is_refused(
    node: NicNode, monkeypatch: pytest.MonkeyPatch, other: NicSpec
) -> None:
    """Each has looked at the device before the other has noted anything, if nobody keeps them apart."""
    agent, both = node.agent(), Barrier(2)

    def refusal(*_: object, **__: object) -> str:
        with suppress(BrokenBarrierError):
            both.wait(0.2)
        return ""

    monkeypatch.setattr(nics, "refusal", refusal)
    asked = (request(replace(MOVED, device=MASTER)), request(other, "c2", "/run/netns/p2"))
    with ThreadPoolExecutor(2) as pool:
        errors = [one.exception(60) for one in [pool.submit(agent.add, each) for each in asked]]
    (refused,) = (error for error in errors if error is not None)
    assert isinstance(refused, DeviceInUse)
    assert len(agent.all()) == 1


@pytest.mark.parametrize("is_moved_first", [True, False])
def test_who_comes_before_the_first_has_changed_anything_is_refused(
    node: NicNode, monkeypatch: pytest.MonkeyPatch, *, is_moved_first: bool
) -> None:
    agent, met = node.agent(), list[str]()
    moved, above = request(replace(MOVED, device=MASTER)), request(MACVLAN, "c2", "/run/netns/p2")
    first, second = (moved, above) if is_moved_first else (above, moved)

    def reached(point: str) -> None:
        if point == "NIC ADD noted" and not met:
            met.append(point)
            with pytest.raises(DeviceInUse, match=r"eth1 is (below )?net1 of default/"):
                agent.add(second)

    monkeypatch.setattr(fail_points, "reached", reached)
    assert (agent.add(first).key, met) == (first.key, ["NIC ADD noted"])


def test_a_vf_with_another_pods_device_above_it_is_given_to_nobody_and_nothing_is_made_above_a_pods_own(
    node: NicNode, tmp_path: Path
) -> None:
    vfs = VfNode(tmp_path / "vfs").agent()
    node.hardware = vfs.hardware
    agent, vf = (
        node.agent(),
        VfRequest(VfSpec(VfKind.NETDEV, VfSettings()), "fast", "c2", "net1", "/run/netns/p2", address=ADDRESS),
    )
    agent.add(request())
    with pytest.raises(DeviceInUse, match="ens1v0 is below net1 of default/c1"):
        vfs.add(vf)
    agent.delete(KEY)
    vfs.add(vf)
    with pytest.raises(DeviceInUse, match="eth1 is net1 of c2"):
        agent.add(request())

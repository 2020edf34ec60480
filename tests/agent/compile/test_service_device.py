"""Services' addresses on a service proxy's device: the node's own where there is room, else left out and told."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from agent.compile.desired import Desired, desired
from agent.compile.node import node_owner
from agent.model.address import Address, mapped
from agent.model.local import Device, Local
from tests.agent.compile.objects import FRESH, SETTINGS, cluster

UPLINK = Device(2, "eth0", (ip_address("192.0.2.1"),), default_route=True)
ROOM = 100


def compiled(device: str, count: int, room: int = ROOM) -> tuple[set[Address], Desired]:
    """Of so many addresses on a device those that are the node's own, and all that is compiled."""
    several = tuple(ip_address(f"10.96.0.{number}") for number in range(1, count + 1))
    local = Local((UPLINK, Device(9, device, several)), netns_cookie=1)
    settings = replace(SETTINGS, endpoint_room=room)
    made = desired(replace(cluster(), local=local), settings, FRESH)
    own = made.owners[node_owner(settings)].of_map("endpoints")
    assert mapped(UPLINK.addresses[0]).packed in own
    return {address for address in several if mapped(address).packed in own}, made


@pytest.mark.parametrize(
    ("count", "room", "are_own"),
    [
        pytest.param(74, ROOM, True, id="as many as leave a quarter to pods"),
        pytest.param(75, ROOM, False, id="one more"),
        pytest.param(250, 0, True, id="where the map's size is not known"),
    ],
)
@pytest.mark.parametrize("device", ["kube-ipvs0", "kube-dummy-if"])
def test_services_addresses_are_the_nodes_own_as_far_as_there_is_room(
    device: str, count: int, room: int, *, are_own: bool
) -> None:
    own, made = compiled(device, count, room)
    assert len(own) == (count if are_own else 0)
    assert [problem.field for problem in made.problems] == ([] if are_own else [f"device {device}"])


def test_anybody_elses_addresses_are_the_nodes_own_however_many() -> None:
    own, made = compiled("vips", 250)
    assert len(own) == 250
    assert made.problems == ()

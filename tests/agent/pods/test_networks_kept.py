"""Pods' ways out by further interfaces are looked after while their pods live."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.model.address import Network
from agent.pods.errors import NetworkFailed
from agent.pods.network_record import InterfaceRecord, NetworkSet
from agent.pods.networks import Networks
from tests.agent.pods.test_networks import KEY, OWNER, Room, request


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


class Kept:
    """Looks after routes that are always lost; can be refused."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.refuses = False

    def lost(self, _: NetworkSet, routed: Iterable[InterfaceRecord]) -> tuple[Network, ...]:
        """As PodRoutes'."""
        return (ip_network("0.0.0.0/0"),) if [*routed] else ()

    def repair(self, _: NetworkSet, routed: Iterable[InterfaceRecord]) -> tuple[Network, ...]:
        """As PodRoutes'."""
        self.asked.append(tuple(one.interface for one in routed))
        if self.refuses:
            raise NetworkFailed("no")
        return (ip_network("0.0.0.0/0"),)


def test_ways_out_are_kept_of_pods_that_live_and_were_asked_to_have_them(room: Room) -> None:
    kept = Kept()
    room.networks = Networks(room.records, room.delegates, lambda *_: None, lambda _: room.alive, kept=kept)
    room.networks.add(OWNER, [request("net1", "makes")], ())
    room.networks.keep()
    room.networks.check(KEY)
    room.networks.delete(KEY)
    out = replace(request("net2", "makes"), default_route=(ip_address("10.50.0.1"),))
    room.networks.add(OWNER, [request("net1", "makes"), out], ())
    assert kept.asked == []
    with pytest.raises(NetworkFailed, match=r"default-route: .* there is no route to 0\.0\.0\.0/0"):
        room.networks.check(KEY)
    for kept.refuses in (False, True):
        room.networks.keep()
    with room.networks.alone(KEY):
        room.networks.keep()
    room.alive = False
    room.networks.keep()
    assert kept.asked == [("net2",), ("net2",)]

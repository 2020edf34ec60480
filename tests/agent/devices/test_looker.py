"""What the device plugin's look takes from the kernel beside sysfs."""

import subprocess
from collections.abc import Iterator

import pytest

from agent.devices import looker
from agent.devices.looker import routed_devices
from tests.agent.kernel.nets import in_new_netns


@pytest.mark.netns
def test_all_devices_of_a_default_route_are_the_nodes() -> None:
    def check() -> None:
        assert routed_devices() == frozenset()
        for words in (
            "link add up0 type veth peer name up1",
            "link set up0 up",
            "link set up1 up",
            "addr add 192.0.2.1/25 dev up0",
            "addr add 192.0.2.129/25 dev up1",
            "route add default nexthop via 192.0.2.2 nexthop via 192.0.2.130",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        assert routed_devices() == frozenset({"up0", "up1"})

    in_new_netns(check)


@pytest.mark.netns
def test_a_device_that_goes_meanwhile_hides_no_other_of_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def devices(_: object) -> Iterator[int]:
        yield from (4093, 1)  # the first of no device, the second of the loopback

    monkeypatch.setattr(looker, "default_route_devices", devices)
    assert in_new_netns(routed_devices) == frozenset({"lo"})

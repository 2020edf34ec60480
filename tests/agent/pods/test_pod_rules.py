"""What a pod that goes on keeps of an interface that was taken from it, in the kernel."""

import os
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from agent.model.attachment import Attachment
from agent.pods.veth import PodVeths
from agent.pods.veth_spec import VethSpec
from tests.agent.kernel.nets import in_new_netns

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

POD = f"swrul{os.getpid()}"


@pytest.fixture
def pod() -> Iterator[str]:
    """The path of a pod's namespace."""
    subprocess.run(["ip", "netns", "add", POD], check=True)
    yield f"/run/netns/{POD}"
    subprocess.run(["ip", "netns", "del", POD], check=True)


def rules() -> list[str]:
    """The pod's rules of both families."""
    shown = [["ip", "-n", POD, family, "rule"] for family in ("-4", "-6")]
    return [subprocess.run(each, check=True, capture_output=True, text=True).stdout for each in shown]


@pytest.mark.parametrize("is_told", [True, False], ids=["by its attachment", "half made, and made again"])
def test_no_rules_are_left_of_an_interface_that_comes_and_goes(pod: str, *, is_told: bool) -> None:
    spec = VethSpec(
        "c1",
        "net1",
        pod,
        may_be_host=False,
        ipv4=IPv4Address("10.77.0.2"),
        ipv6=IPv6Address("fd77::2"),
        is_first=False,
    )

    def check() -> None:
        veths = PodVeths(tuple, lambda _: ((), ()))
        before = rules()
        there: list[list[str]] = []
        for _ in range(2):
            made = veths.create(spec)
            there.append(rules())
            if is_told:
                found = (made.netns_cookie, made.mac, made.link, spec.ipv4, spec.ipv6)
                veths.leave(Attachment("c1", "net1", 1, 1, pod, *found, is_first=False))
                assert rules() == before
            else:
                veths.remove(made.link.host_device)
        assert there[0] == there[1] != before

    in_new_netns(check)

"""A device of the node that pods have themselves is what it was when it is home, whatever its pod has made of it.

Ends of veths stand for NICs: their aliases say what the kernel says of a PCI function's device.
"""

import os
import subprocess
from collections.abc import Iterator

import pytest

from agent.kernel.device.nic import NodeNics
from agent.kernel.device.pci import DeviceRefused
from agent.model.nic import NicKind, NicSpec
from agent.netlink.netns import inside

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

NODE, POD, OTHER = (f"swnh{os.getpid()}{which}" for which in "npo")


def ip(netns: str, words: str) -> str:
    return subprocess.run(["ip", "-n", netns, *words.split()], check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def nics() -> Iterator[NodeNics]:
    for name in (NODE, POD, OTHER):
        subprocess.run(["ip", "netns", "add", name], check=True)
    with inside(f"/run/netns/{NODE}"):
        yield NodeNics()
    for name in (NODE, POD, OTHER):
        subprocess.run(["ip", "netns", "del", name], check=False)


def test_a_device_of_an_unreadable_name_is_no_pods(nics: NodeNics) -> None:
    ip(NODE, "link add d0 type veth peer name d1")
    ip(NODE, "link property add dev d0 altname spare0")
    subprocess.run([b"ip", b"-n", NODE.encode(), b"link", b"set", b"d0", b"name", b"\xff\xfa"], check=True)
    with pytest.raises(DeviceRefused, match="is no UTF-8; rename"):
        nics.look(NicSpec(NicKind.HOST_DEVICE, "spare0"))

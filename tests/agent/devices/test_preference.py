"""Which free devices are given together."""

import pytest

from agent.devices.pools import Device
from agent.devices.preference import preferred

# by their names: memory node, PF, number
DEVICES = {
    name: Device(name, int(name[0]), name[:2], "") for name in ("0a0", "0a1", "0a2", "0b0", "0b1", "1c0", "1c1", "1c2")
}


@pytest.mark.parametrize(
    ("free", "must", "size", "expected"),
    [
        pytest.param("0a0 0a1 0a2 0b0 0b1", "", 1, "0a0", id="one, of the PF that has most left"),
        pytest.param("0a2 0b0 0b1", "", 1, "0b0", id="and not of the first"),
        pytest.param("0a0 0a1 0b0 0b1", "", 2, "0a0 0b0", id="two, of two PFs"),
        pytest.param("0a0 0a1 1c0 1c1 1c2", "", 3, "1c0 1c1 1c2", id="three, of the node that has three"),
        pytest.param("0a0 1c0 1c1", "0a0", 2, "0a0 1c0", id="what must be, and another node's where it is alone"),
        pytest.param("0a0 0a1 1c0 1c1 1c2", "0a0", 2, "0a0 0a1", id="what must be says the node"),
        pytest.param("0a0 1c0", "", 3, "0a0 1c0", id="fewer than are wanted"),
        pytest.param("9z0", "", 1, "9z0", id="a device that is not known any more"),
    ],
)
def test_a_pods_devices_are_near_each_other_and_share_no_cable(free: str, must: str, size: int, expected: str) -> None:
    assert " ".join(preferred(DEVICES, free.split(), must.split(), size)) == expected

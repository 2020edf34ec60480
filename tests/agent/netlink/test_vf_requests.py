"""A VF's settings as rtnetlink has them: octet by octet as linux/if_link.h, and read as they are told."""

import struct

import pytest

from agent.compile.vf import Change, SetLinkState, SetMac, SetRate, SetSpoofCheck, SetTrust, SetVlan
from agent.model.vf import LinkState, VfSettings, VlanProtocol
from agent.netlink import vf_requests
from agent.netlink.rtnetlink import LINK, attribute, attributes, packed
from agent.netlink.vf_requests import IFLA_VFINFO_LIST, VF_INFO

MAC = "02:00:00:00:00:0a"


@pytest.mark.parametrize(
    ("change", "kind", "value"),
    [
        pytest.param(SetMac(MAC), 1, struct.pack("=I6s26x", 3, bytes.fromhex("02000000000a")), id="ifla_vf_mac"),
        pytest.param(SetRate(1, 2), 6, struct.pack("=III", 3, 1, 2), id="ifla_vf_rate"),
        pytest.param(SetSpoofCheck(on=True), 4, struct.pack("=II", 3, 1), id="ifla_vf_spoofchk"),
        pytest.param(SetTrust(on=False), 9, struct.pack("=II", 3, 0), id="ifla_vf_trust"),
        pytest.param(SetLinkState(LinkState.DISABLE), 5, struct.pack("=II", 3, 2), id="ifla_vf_link_state"),
        pytest.param(
            SetVlan(100, 3, VlanProtocol.S_TAG),
            12,
            packed(1, struct.pack("=III2s2x", 3, 100, 3, b"\x88\xa8")),
            id="ifla_vf_vlan_info has all its 16 octets, without which kernels refuse it",
        ),
    ],
)
def test_each_attribute_is_as_the_kernel_has_it(change: Change, kind: int, value: bytes) -> None:
    request = vf_requests.set_vf(7, 3, change)
    assert LINK.unpack_from(request.body)[2] == 7
    ((inner, told),) = attributes(attribute(attribute(request.body, LINK.size, IFLA_VFINFO_LIST), 0, VF_INFO), 0)
    assert (inner, told) == (kind, value)
    assert change.field in str(request)


class Told:
    """A dump that knows one PF with two VFs."""

    def __init__(self, *vfs: bytes) -> None:
        self.body = LINK.pack(0, 1, 7, 0, 0) + packed(IFLA_VFINFO_LIST, b"".join(packed(VF_INFO, vf) for vf in vfs))

    def one(self, _kind: int, _body: bytes) -> bytes:
        """As the kernel's."""
        return self.body


def test_settings_are_read_of_the_vf_that_is_meant_and_what_a_driver_does_not_tell_is_not_known() -> None:
    first = packed(1, struct.pack("=I6s26x", 0, bytes(6)))
    second = b"".join(
        (
            packed(1, struct.pack("=I6s26x", 1, bytes.fromhex("02000000000a"))),
            packed(6, struct.pack("=III", 1, 10, 20)),
            packed(4, struct.pack("=II", 1, 1)),
            packed(9, struct.pack("=II", 1, 0xFFFFFFFF)),
            packed(5, struct.pack("=II", 1, 1)),
            packed(12, packed(1, struct.pack("=III2s2x", 1, 5, 2, b"\x88\xa8"))),
        )
    )
    dump = Told(first, second)
    assert vf_requests.vf_settings(dump, 7)[1] == VfSettings(  # type: ignore[arg-type]
        5,
        2,
        VlanProtocol.S_TAG,
        MAC,
        spoofchk=True,
        trust=None,
        link_state=LinkState.ENABLE,
        min_tx_rate=10,
        max_tx_rate=20,
    )
    assert vf_requests.vf_settings(dump, 7)[0] == VfSettings(mac="00:00:00:00:00:00")  # type: ignore[arg-type]
    assert vf_requests.vf_settings(dump, 7).keys() == {0, 1}  # type: ignore[arg-type]

"""What is asked of rtnetlink about VFs: their settings on the PF.

pyroute2 0.9.7 writes a VLAN with its protocol in 14 octets, where kernels since the fix of CVE-2024-36017 want the
whole structure of 16; here each structure is as ``linux/if_link.h`` has it.
"""

import socket
import struct
from typing import assert_never

from agent.compile.vf import Change, SetLinkState, SetMac, SetRate, SetSpoofCheck, SetTrust, SetVlan
from agent.model.vf import LinkState, VfSettings, VlanProtocol
from agent.netlink.dump import Dump
from agent.netlink.requests import Request
from agent.netlink.rtnetlink import (
    IFLA_EXT_MASK,
    LINK,
    NUMBER,
    RTEXT_FILTER_SKIP_STATS,
    RTM_GETLINK,
    RTM_NEWLINK,
    attribute,
    attributes,
    packed,
)

# linux/if_link.h, linux/rtnetlink.h
IFLA_VFINFO_LIST = 22
VF_INFO, VF_VLAN_INFO = 1, 1
VF_MAC, VF_SPOOFCHK, VF_LINK_STATE, VF_RATE, VF_TRUST, VF_VLAN_LIST = 1, 4, 5, 6, 9, 12
RTEXT_FILTER_VF = 0x1
_MAC = struct.Struct("=I32s")  # struct ifla_vf_mac; an Ethernet address is its first six octets
_VLAN = struct.Struct("=IIIH2x")  # struct ifla_vf_vlan_info; the protocol in network order
_RATE = struct.Struct("=III")  # struct ifla_vf_rate
_SETTING = struct.Struct("=II")  # struct ifla_vf_spoofchk, ifla_vf_trust, ifla_vf_link_state
_UNTOLD = 0xFFFFFFFF  # of a driver that does not say
_PROTOCOLS = {VlanProtocol.C_TAG: 0x8100, VlanProtocol.S_TAG: 0x88A8}  # linux/if_ether.h
_STATES = {LinkState.AUTO: 0, LinkState.ENABLE: 1, LinkState.DISABLE: 2}
ETHERNET = 6  # octets


def set_vf(pf: int, vf: int, change: Change) -> Request:
    """One attribute of a VF set, at the PF of this ifindex."""
    kind, value = _setting(vf, change)
    body = LINK.pack(0, 0, pf, 0, 0) + packed(IFLA_VFINFO_LIST, packed(VF_INFO, packed(kind, value)))
    return Request(RTM_NEWLINK, 0, body, f"set {change.field} of VF {vf} to {change}")


def vf_settings(dump: Dump, pf: int) -> dict[int, VfSettings]:
    """What the PF of this ifindex keeps for its VFs, by their numbers.

    Raises:
        OSError: there is no such PF.
    """
    mask = packed(IFLA_EXT_MASK, NUMBER.pack(RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS))
    body = dump.one(RTM_GETLINK, LINK.pack(0, 0, pf, 0, 0) + mask)
    listed = attributes(attribute(body, LINK.size, IFLA_VFINFO_LIST), 0)
    those = (dict(attributes(value, 0)) for kind, value in listed if kind == VF_INFO)
    return {_MAC.unpack_from(told[VF_MAC])[0]: _settings(told) for told in those if VF_MAC in told}


def _setting(vf: int, change: Change) -> tuple[int, bytes]:
    match change:
        case SetVlan():
            info = _VLAN.pack(vf, change.vlan, change.qos, socket.htons(_PROTOCOLS[change.proto]))
            return VF_VLAN_LIST, packed(VF_VLAN_INFO, info)
        case SetMac():
            return VF_MAC, _MAC.pack(vf, bytes.fromhex(change.mac.replace(":", "")))
        case SetRate():
            return VF_RATE, _RATE.pack(vf, change.least, change.most)
        case SetSpoofCheck():
            return VF_SPOOFCHK, _SETTING.pack(vf, change.on)
        case SetTrust():
            return VF_TRUST, _SETTING.pack(vf, change.on)
        case SetLinkState():
            return VF_LINK_STATE, _SETTING.pack(vf, _STATES[change.state])
        case _:
            assert_never(change)


def _settings(told: dict[int, bytes]) -> VfSettings:
    vlan = attribute(told.get(VF_VLAN_LIST, b""), 0, VF_VLAN_INFO)
    _, tag, qos, proto = _VLAN.unpack(vlan.ljust(_VLAN.size, b"\0"))
    _, least, most = _RATE.unpack(told.get(VF_RATE, b"").ljust(_RATE.size, b"\0"))
    state = next((state for state, value in _STATES.items() if value == _flag(told, VF_LINK_STATE)), None)
    s_tag = socket.htons(_PROTOCOLS[VlanProtocol.S_TAG])
    return VfSettings(
        vlan=tag if vlan else None,
        vlan_qos=qos if vlan else None,
        vlan_proto=(VlanProtocol.S_TAG if proto == s_tag else VlanProtocol.C_TAG) if vlan else None,
        mac=_MAC.unpack_from(told[VF_MAC])[1][:ETHERNET].hex(":"),
        spoofchk=_switch(told, VF_SPOOFCHK),
        trust=_switch(told, VF_TRUST),
        link_state=state,
        min_tx_rate=least if VF_RATE in told else None,
        max_tx_rate=most if VF_RATE in told else None,
    )


def _flag(told: dict[int, bytes], kind: int) -> int:
    return int(_SETTING.unpack(told[kind])[1]) if kind in told else _UNTOLD


def _switch(told: dict[int, bytes], kind: int) -> bool | None:
    value = _flag(told, kind)
    return None if value == _UNTOLD else bool(value)

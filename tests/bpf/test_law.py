"""The laws that packets are held to can be broken: a wrong octet in any checksum or length is seen."""

import pytest
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.bpf.datapath import CLIENT, CLIENT6, NODE, NODE6, checksums_hold, data, datagram, frame, syn
from tests.bpf.packets import UNREACHABLE, icmp_error, icmp_sum_holds

FRAMES = [
    pytest.param(frame(CLIENT, NODE, syn()), [24, 25, 26, 29, 33, 34, 37, 50, 51], id="IPv4, TCP"),
    pytest.param(frame(CLIENT, NODE, data()), [24, 25, 50, 51, -1], id="IPv4, TCP with data"),
    pytest.param(frame(CLIENT, NODE, datagram()), [24, 25, 36, 40, 41, -1], id="IPv4, UDP"),
    pytest.param(frame(CLIENT6, NODE6, syn()), [22, 37, 38, 53, 54, 70, 71], id="IPv6, TCP"),
    pytest.param(frame(CLIENT6, NODE6, datagram()), [37, 53, 54, 60, 61, -1], id="IPv6, UDP"),
]


@pytest.mark.parametrize(("packet", "octets"), FRAMES)
def test_a_whole_packet_holds_and_one_with_a_wrong_octet_does_not(packet: Packet, octets: list[int]) -> None:
    assert checksums_hold(packet)
    for at in octets:
        raw = bytearray(bytes(packet))
        raw[at] ^= 1
        assert not checksums_hold(Ether(bytes(raw))), f"octet {at}"


@pytest.mark.parametrize(
    "about",
    [
        pytest.param(frame(CLIENT, NODE, data()), id="IPv4, TCP"),
        pytest.param(frame(CLIENT, NODE, datagram()), id="IPv4, UDP"),
        pytest.param(frame(CLIENT6, NODE6, data()), id="IPv6, TCP"),
        pytest.param(frame(CLIENT6, NODE6, datagram()), id="IPv6, UDP"),
    ],
)
def test_an_error_holds_and_one_with_a_wrong_octet_does_not(about: Packet) -> None:
    error = icmp_error(about, UNREACHABLE, "2001:db8::1" if IPv6 in about else "192.0.2.1")
    assert icmp_sum_holds(error)
    assert checksums_hold(error)
    message = 54 if IPv6 in about else 34
    for at in range(message, len(error)):
        raw = bytearray(bytes(error))
        raw[at] ^= 1
        assert not icmp_sum_holds(Ether(bytes(raw))), f"octet {at}"


@pytest.mark.parametrize("at", [24, 25])
def test_a_wrong_outer_header_of_an_error_is_seen(at: int) -> None:
    raw = bytearray(bytes(icmp_error(frame(CLIENT, NODE, data()), UNREACHABLE, "192.0.2.1")))
    raw[at] ^= 1
    assert not icmp_sum_holds(Ether(bytes(raw)))


@pytest.mark.parametrize("transport", [data(), datagram()], ids=["TCP", "UDP"])
def test_a_wrong_checksum_in_what_an_error_quotes_is_seen(transport: Packet) -> None:
    about = bytearray(bytes(frame(CLIENT, NODE, transport)))
    about[14 + 20 + (16 if transport.name == "TCP" else 6)] ^= 1
    error = icmp_error(Ether(bytes(about)), UNREACHABLE, "192.0.2.1")
    assert icmp_sum_holds(error)
    assert not checksums_hold(error)

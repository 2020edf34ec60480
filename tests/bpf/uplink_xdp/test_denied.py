"""From the ranges of --xdp-deny-cidrs-file XDP lets nothing in."""

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from agent.watch.decode.denied import parse, prefix_key_of
from maps.abi import DeniedPrefix, DropReason
from tests.bpf.datapath import NODE, XDP_DROP, XDP_PASS, XDP_TX, Datapath, frame, prefix_key, syn
from tests.bpf.test_uplink import EXTERNAL_ADDRESS, FAMILIES, V4, Family, offer
from tests.bpf.uplink_xdp.xdp import DENIED, at_xdp

pytestmark = [pytest.mark.kernel, pytest.mark.netns]


def deny(node: Datapath, *networks: str) -> None:
    """Let nothing in from these ranges."""
    denied = node.tables["denied_prefixes"]
    denied.update((prefix_key(network), DeniedPrefix(line)) for line, network in enumerate(networks, 1))


@pytest.mark.parametrize("f", FAMILIES)
def test_nothing_from_a_denied_range_is_let_in(node: Datapath, device: int, f: Family) -> None:
    deny(node, "192.0.2.0/25", "2001:db8::/120")
    address, port = offer(node, f, f.remote, at=EXTERNAL_ADDRESS, local=False)
    asked = frame(f.client, address, syn(dport=port))
    tagged = Ether(src=asked.src, dst=asked.dst) / Dot1Q(vlan=7) / asked.payload
    twice = Ether(src=asked.src, dst=asked.dst, type=0x88A8) / Dot1Q(vlan=7) / Dot1Q(vlan=8) / asked.payload
    for packet in (asked, frame(f.client, f.pod, Raw(b"any")), Ether(bytes(tagged)), Ether(bytes(twice))):
        done = at_xdp(node, packet, device)
        assert (done.verdict, dict(done.reasons)) == (XDP_DROP, DENIED)
    assert node.tables["flows"].count() == 0
    outside = "192.0.2.200" if f is V4 else "2001:db8::1:7"
    assert at_xdp(node, frame(outside, address, syn(dport=port)), device).verdict == XDP_TX


def test_a_hundred_thousand_ranges_are_denied_and_exchanged(node: Datapath, device: int) -> None:
    """As the agent reads them from its file; the addresses are 198.18.0.0/15's, and as many of IPv6."""
    table, half = node.tables["denied_prefixes"], 50_000
    text = "\n".join(
        [f"198.{18 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(half)]
        + [f"2001:2:0:{n:x}::/64" for n in range(half)]
    )
    denied, problems = parse(text, "deny")
    assert problems == ()
    table.update_packed(denied.keys, denied.values, 2 * half)
    assert table.count() == 2 * half

    def verdicts(*sources: str) -> list[int]:
        to = {True: "fd88::11", False: NODE}
        return [at_xdp(node, frame(one, to[":" in one], syn(dport=22)), device).verdict for one in sources]

    last, last6 = f"198.18.{half - 1 >> 8}.{half - 1 & 255}", f"2001:2:0:{half - 1:x}::7"
    assert verdicts("198.18.0.0", last, "2001:2::7", last6) == [XDP_DROP] * 4
    assert verdicts(f"198.18.{half >> 8}.{half & 255}", f"2001:2:0:{half:x}::7", V4.client) == [XDP_PASS] * 3
    gone, come = prefix_key_of(last), prefix_key_of(f"2001:2:0:{half:x}::/64")
    table.delete_packed(gone, 1)
    table.update_packed(come, DeniedPrefix(1).pack(), 1)
    assert verdicts(last, f"2001:2:0:{half:x}::7", last6) == [XDP_PASS, XDP_DROP, XDP_DROP]
    table.delete_packed(denied.keys, 2 * half)
    assert verdicts("198.18.0.0", last6) == [XDP_PASS, XDP_PASS]


def test_a_denied_range_of_one_family_means_nothing_to_the_other(node: Datapath, device: int) -> None:
    deny(node, "::/0")
    assert at_xdp(node, frame(V4.client, NODE, syn(dport=22)), device).verdict == XDP_PASS
    node.tables["denied_prefixes"].delete([prefix_key("::/0")])
    deny(node, "0.0.0.0/0")
    assert at_xdp(node, frame("2001:db8::7", "fd88::11", syn(dport=22)), device).verdict == XDP_PASS
    assert at_xdp(node, frame(V4.client, NODE, syn(dport=22)), device).verdict == XDP_DROP


def test_what_was_denied_is_among_the_latest_drops(node: Datapath, device: int) -> None:
    deny(node, "192.0.2.0/24")
    at_xdp(node, frame(V4.client, NODE, TCP(sport=1, dport=2)), device)
    kept = max((event for _, event in node.tables["drops"].items()), key=lambda event: event.at_ns)
    assert (kept.reason, str(kept.src.ipv4_mapped)) == (DropReason.DROP_DENIED_PREFIX, V4.client)

"""What a PF has counted of its VFs, octet by octet as linux/if_link.h has it."""

import struct

from agent.netlink.counted import CountedVf, counted_vfs
from agent.netlink.rtnetlink import packed
from tests.agent.netlink.test_vf_requests import Told

# IFLA_VF_STATS_*: rx_packets to tx_bytes are 0 to 3, broadcast and multicast 4 and 5, a pad 6, the drops 7 and 8
STATISTICS = {0: 10, 1: 20, 2: 1000, 3: 2000, 4: 1, 5: 2, 7: 3, 8: 4}


def test_a_vf_has_the_counters_that_the_pf_tells_and_zeros_where_it_tells_none() -> None:
    told = b"".join(packed(kind, struct.pack("=Q", value)) for kind, value in STATISTICS.items())
    first = packed(1, struct.pack("=I32s", 0, b""))
    second = packed(1, struct.pack("=I32s", 5, b"")) + packed(8, told)
    found = counted_vfs(Told(first, second), 7)  # type: ignore[arg-type]
    assert found == {
        0: CountedVf(),
        5: CountedVf(rx_packets=10, tx_packets=20, rx_octets=1000, tx_octets=2000, rx_dropped=3, tx_dropped=4),
    }

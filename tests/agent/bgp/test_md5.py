"""The kernel's counters of TCP's MD5 option."""

from agent.bgp.md5 import refused_segments

TEXT = """TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure TCPSackShifted
TcpExt: 7 1 2 4 9
IpExt: InNoRoutes
IpExt: 0
"""


def test_all_that_was_refused_counts_and_nothing_else() -> None:
    assert refused_segments(TEXT) == 7
    assert refused_segments("TcpExt: SyncookiesSent\nTcpExt: 3\n") == 0
    assert refused_segments("") == 0

"""How many TCP segments the kernel refused for their MD5 option: of a peer's wrong password BGP itself hears nothing.

Source: Linux, net/ipv4/proc.c, TcpExt in /proc/net/netstat, which is the network namespace's.
"""

from pathlib import Path

NETSTAT = Path("/proc/net/netstat")
_COUNTERS = ("TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure")  # no signature, one that is not wanted, a wrong one


def refused_segments(text: str) -> int:
    """All of them, from the file's text; 0 where the kernel does not count."""
    lines = [line.split() for line in text.splitlines() if line.startswith("TcpExt:")]
    if len(lines) < len(("names", "numbers")):
        return 0
    counts = dict(zip(lines[0][1:], lines[1][1:], strict=False))
    return sum(int(counts.get(name, "0")) for name in _COUNTERS)


def count() -> int:
    """The number of now; 0 where the file cannot be read."""
    try:
        return refused_segments(NETSTAT.read_text())
    except OSError:
        return 0

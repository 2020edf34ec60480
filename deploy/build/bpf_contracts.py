"""What holds between the rooms of ``bpf/dp``, as import-linter's contracts hold between Python's packages.

``python deploy/build/bpf_contracts.py bpf`` prints each breach and fails when there is one.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# a room's headers include those of its own room and of the rooms before it; config.h is a room of one header
ROOMS = (
    "abi",
    "config.h",
    "packet",
    "endpoint",
    "policy",
    "service",
    "fragment",
    "conntrack",
    "tunnel",
    "reply",
    "forward",
)
# maps that one room alone touches
OWNED = {"flows": "conntrack", "flow_buckets": "conntrack", "flow_caches": "conntrack", "cache_sets": "conntrack"}
# the packet's buffer: a member of it, a helper that takes it, or its type
_BUFFER = re.compile(r"\bctx->|\bbpf_\w+\(ctx\b|\b__sk_buff\b|\bxdp_md\b")
# who knows it: ctx.h and what it includes; sockets' hooks have no packet, and a syscall's program no buffer
_KNOWS_BUFFER = (
    *("packet/ctx.h", "packet/ctx_skb.h", "packet/ctx_xdp.h"),
    *("service/sock.h", "service/sock_client.h", "service/sock_given.h"),  # whose context is no packet
)
_INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)


def breaches(sources: Path) -> Iterator[str]:
    """Every breach under *sources*, a folder of programs with the headers in ``dp/``; a line each."""
    headers = sources / "dp"
    for path in sorted(headers.rglob("*.h")):
        name = path.relative_to(headers).as_posix()
        if _rank(name) is None:
            yield f"dp/{name} is in no room of {', '.join(ROOMS)}"
            continue
        text = path.read_text()
        for included in _INCLUDE.findall(text):
            yield from _included(name, included)
        yield from _touched(name, text)
        yield from _reached(name, text)
    for path in sorted(sources.glob("*.c")):
        yield from _touched(path.name, path.read_text())
        yield from _reached(path.name, path.read_text())


def _included(name: str, included: str) -> Iterator[str]:
    rank, other = _rank(name), _rank(included.removeprefix("dp/"))
    if not included.startswith("dp/") or other is None:
        yield f'dp/{name} includes "{included}", which is no header of a room by its path from dp/ on'
    elif rank is not None and other > rank:
        yield f"dp/{name} includes {included}, whose room comes after its own"


def _touched(name: str, text: str) -> Iterator[str]:
    room = name.partition("/")[0]
    for owned, owner in OWNED.items():
        if room != owner and re.search(rf"&{owned}\b", text):
            yield f"{name} touches the map {owned}, which {owner}/ alone does"


def _reached(name: str, text: str) -> Iterator[str]:
    if name not in _KNOWS_BUFFER:
        yield from (f"{name} reaches past ctx.h to the packet's buffer: {use}" for use in _BUFFER.findall(text))


def _rank(name: str) -> int | None:
    """Where in the order a header's room is; None: it is in none."""
    room = name.partition("/")[0]
    return ROOMS.index(room) if room in ROOMS else None


def main(sources: str) -> int:
    """Print the breaches; returns the exit code."""
    found = list(breaches(Path(sources)))
    for line in found:
        sys.stderr.write(f"{line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""docs/drop-reasons.md: why packets are dropped, from the comments of ``enum drop_reason`` in ``bpf/dp/abi/drop.h``.

What to do where they are is in ``dpctl/explain.py``, which says it to those who look.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dpctl.explain import reason_name, way_out
from maps.abi import DropReason

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "bpf" / "dp" / "abi" / "drop.h"
PAGE = ROOT / "docs" / "drop-reasons.md"
NONE = {DropReason.DROP_NONE, DropReason.DROP_REASONS}
_MEMBER = re.compile(r"^\s+(DROP_\w+),\s*/\*\s*(.*?)\s*\*/", re.MULTILINE | re.DOTALL)
HEAD = """\
# Drop reasons

Why a packet ended in one of our programs. Generated from `enum drop_reason` in `bpf/dp/abi/drop.h`. No two causes share
a reason, and a number is never given to another. They are the label `reason` of `sluiceway_dropped_packets_total`
([metrics.md](metrics.md)), and a column of `dpctl status` and of `dpctl drops`, which has the last packets themselves
([dpctl.md](dpctl.md#drops)).

| number | reason | the packet, and *what to do where it should pass* |
|---|---|---|
"""


def files() -> Mapping[Path, str]:
    """The page, as it is to be."""
    return {PAGE: HEAD + "".join(_rows(HEADER.read_text()))}


def meanings(header: str) -> Mapping[str, str]:
    """The comment of each member of ``enum drop_reason``, by its name in C."""
    (body,) = re.findall(r"^enum drop_reason \{(.*?)^\};", header, re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.replace("\n\t\t * ", " ").split()) for name, text in _MEMBER.findall(body)}


def _rows(header: str) -> Iterator[str]:
    told = meanings(header)
    for reason in DropReason:
        if reason not in NONE:
            name = reason_name(reason)
            more = f"; *{way_out(name)}*" if way_out(name) else ""
            yield f"| {reason.value} | `{name}` | {told[reason.name]}{more} |\n"

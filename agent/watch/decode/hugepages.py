"""Huge pages that the containers of a Pod ask for: Kubernetes has them in limits, which are requests as well."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

PREFIX = "hugepages-"  # of a resource's name; the size of a page follows
_QUANTITY = re.compile(r"(\d+)([kMGT]|[KMGT]i)?")
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_KIB = 1 << 10


def hugepages(limits: Iterable[Mapping[str, Any]]) -> tuple[tuple[int, int], ...]:
    """(a page's size, how much is asked for), in KiB, by size; *limits* are those of each container."""
    found = Counter[int]()
    for each in limits:
        for name, amount in each.items():
            if name.startswith(PREFIX) and (size := _octets(name.removeprefix(PREFIX))):
                found[size // _KIB] += _octets(str(amount)) // _KIB
    return tuple(sorted(found.items()))


def _octets(quantity: str) -> int:
    """A whole quantity, as the API server writes those of pages; 0: it is none."""
    match = _QUANTITY.fullmatch(quantity)
    return int(match[1]) * _UNITS.get(match[2], 1) if match else 0

"""Ranges of ports as the kernel writes them, in ip_local_reserved_ports and the like."""

from collections.abc import Collection

Ports = tuple[int, int]  # inclusive


def port_ranges(text: str) -> tuple[Ports, ...]:
    """The ranges of a text like ``8080,9148-9150``; a lone port is a range of one."""
    return tuple(
        (int(low), int(high or low))
        for part in text.split(",")
        if part.strip()
        for low, _, high in [part.partition("-")]
    )


def written(ranges: Collection[Ports]) -> str:
    """Such a text: sorted, and ranges that touch or overlap as one, as the kernel writes what it is given."""
    found: list[list[int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], high)
        else:
            found.append([low, high])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found)

"""A range of addresses as fields of objects have it: the first, a hyphen and the last; or one alone; or a network."""

from agent.model.address import family
from agent.model.lb_pool import AddressRange
from agent.watch.decode.reader import Reader


def address_range(read: Reader, text: str, where: str) -> AddressRange | None:
    """The range of a text without a prefix length; None, and a problem, where it is none."""
    low, _, high = text.partition("-")
    first = read.address(low.strip(), where)
    last = read.address((high or low).strip(), where)
    if first is None or last is None:
        return None
    if family(first) is not family(last) or int(first) > int(last):
        read.refuse(where, f"{text!r} is no range; write the first address, a hyphen and the last")
        return None
    return AddressRange(first, last)


def range_or_network(read: Reader, text: str, where: str) -> AddressRange | None:
    """The same, also of a network: all its addresses."""
    if "/" not in text:
        return address_range(read, text, where)
    network = read.network(text, where)
    return AddressRange(network.network_address, network.broadcast_address) if network is not None else None

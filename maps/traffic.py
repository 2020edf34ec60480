"""The entries of ``counters`` by program, direction and reason; the metrics and dpctl show them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from maps import abi


@dataclass(frozen=True, slots=True)
class Traffic:
    """One entry of the ``counters`` map, its index decoded; *reason* is empty for what was forwarded."""

    program: str
    direction: str
    reason: str
    packets: int
    octets: int


def traffic(counters: Iterable[tuple[int, abi.Counter]]) -> Iterator[Traffic]:
    """The entries of ``counters`` that have a meaning; ``bpf/dp/abi/counter.h`` says how an index is made."""
    for index, counter in counters:
        side, reason = divmod(index, abi.COUNTER_REASONS)
        program, direction = divmod(side, abi.Direction.DIRECTIONS)
        if reason < abi.DropReason.DROP_REASONS and program < abi.Program.PROGRAMS:
            yield Traffic(
                abi.Program(program).name.removeprefix("PROGRAM_").lower(),
                abi.Direction(direction).name.removeprefix("DIRECTION_").lower(),
                abi.DropReason(reason).name.removeprefix("DROP_").lower() if reason else "",
                counter.packets,
                counter.octets,
            )

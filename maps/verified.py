"""What a program cost the verifier: instructions it processed, and the stack that its longest chain of calls takes.

A program and the functions it calls share 512 octets of stack, and the kernel adds up each chain of calls.

Source: check_max_stack_depth() of the kernel's kernel/bpf/verifier.c.
"""

import re
import struct
from dataclasses import dataclass

STACK = 512  # MAX_BPF_STACK, octets
PROCESSED = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS
INSTRUCTION = 8  # octets
_ROUNDED_TO = 32  # each frame, by kernels before 6.8; later ones to 16
_CALL, _LOAD_64, _PSEUDO_CALL, _PSEUDO_FUNCTION = 0x85, 0x18, 1, 4
_STATISTICS = re.compile(r"^processed (\d+) insns", re.MULTILINE)
_STACK = re.compile(r"^stack depth ([\d+]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program cost."""

    processed: int  # instructions, each as often as the verifier came by
    chain: tuple[int, ...]  # octets of stack, each function's of the chain of calls that takes most

    @property
    def room(self) -> int:
        """Octets of stack that are left below the end of the longest chain."""
        return STACK - sum(self.chain)


def cost(log: str, code: bytes) -> Cost:
    """What a program cost, by the verifier's statistics and the program's instructions with all that it calls.

    Raises:
        ValueError: the log has no statistics of this program.
    """
    processed, stack = _STATISTICS.search(log), _STACK.search(log)
    begins, calls = _functions(code)
    frames = [int(octets) for octets in stack[1].split("+")] if stack else []
    if processed is None or len(frames) != len(begins):
        raise ValueError(f"the verifier said nothing of {len(begins)} functions: {log!r}")
    rounded = [max(-(-octets // _ROUNDED_TO), 1) * _ROUNDED_TO for octets in frames]
    return Cost(int(processed[1]), _longest(0, rounded, calls))


def _functions(code: bytes) -> tuple[list[int], dict[int, set[int]]]:
    """Where functions begin, and whom each calls, by their order; callbacks count as called."""
    begins, found = {0}, []
    for at, (opcode, registers, _, immediate) in enumerate(struct.iter_unpack("<BBhi", code)):
        source = registers >> 4
        if (opcode, source) in {(_CALL, _PSEUDO_CALL), (_LOAD_64, _PSEUDO_FUNCTION)}:
            begins.add(at + immediate + 1)
            found.append((at, at + immediate + 1))
    order = sorted(begins)
    calls: dict[int, set[int]] = {i: set() for i in range(len(order))}
    for at, target in found:
        calls[max(i for i, begin in enumerate(order) if begin <= at)].add(order.index(target))
    return order, calls


def _longest(function: int, frames: list[int], calls: dict[int, set[int]]) -> tuple[int, ...]:
    """The frames of the chain that takes most, from a function on; there is no recursion in BPF."""
    chains = (_longest(called, frames, calls) for called in calls[function])
    return frames[function], *max(chains, key=sum, default=())

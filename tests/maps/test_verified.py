"""What a program cost is read from the verifier's statistics and the program's own calls."""

import struct

import pytest

from maps.verified import Cost, cost

EXIT, MOVE, CALL = 0x95, 0xB7, 0x85
PSEUDO_CALL = 0x10  # in the upper half of the registers
LOG = "verification time 7 usec\nstack depth {}\nprocessed {} insns (limit 1000000) max_states_per_insn 0\n"


def code(*instructions: tuple[int, int, int]) -> bytes:
    """Instructions of (opcode, registers, immediate)."""
    return b"".join(struct.pack("<BBhi", opcode, registers, 0, number) for opcode, registers, number in instructions)


# the program calls the second function (at 4) and that the third (at 6)
THREE = code((MOVE, 0, 0), (CALL, PSEUDO_CALL, 2), (CALL, 0, 5), (EXIT, 0, 0)) + code(
    (CALL, PSEUDO_CALL, 1), (EXIT, 0, 0), (EXIT, 0, 0)
)


@pytest.mark.parametrize(
    ("stack", "program", "chain"),
    [
        pytest.param("0", code((EXIT, 0, 0)), (32,), id="a frame takes at least 32 octets"),
        pytest.param("33+8+64", THREE, (64, 32, 64), id="each is rounded up to 32, and calls add up"),
        pytest.param(
            "8+200+8",
            code((CALL, PSEUDO_CALL, 2), (CALL, PSEUDO_CALL, 2), (EXIT, 0, 0), (EXIT, 0, 0), (EXIT, 0, 0)),
            (32, 224),
            id="of two chains the longer counts",
        ),
    ],
)
def test_chain(stack: str, program: bytes, chain: tuple[int, ...]) -> None:
    found = cost(LOG.format(stack, 12), program)
    assert found == Cost(12, chain)
    assert found.room == 512 - sum(chain)


def test_a_log_without_statistics_is_an_error() -> None:
    with pytest.raises(ValueError, match="said nothing"):
        cost("", THREE)

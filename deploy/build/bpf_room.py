"""How much room each program has left under the kernel's limits; too little fails.

``python deploy/build/bpf_room.py OBJECT...`` loads the objects, prints a line for each program, and fails where one has
less room than the next feature will want. It needs to load BPF: where that is not permitted it says so.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from maps.errors import NotPermitted
from maps.object import Object
from maps.verified import PROCESSED, STACK, Cost

ROOM = 128  # octets of stack, at least: a large step's frame, or the two of a small one
# of an object that each interface loads for itself: the longest that there is
OWN: Mapping[str, int | bytes] = {"own_slot": 1, "own_addresses": bytes(range(128))}
# instructions; other kernels' verifiers need up to twice as many, and each start of an agent pays them
PROCESSED_AT_MOST = PROCESSED // 10


def costs(path: Path) -> Mapping[str, Cost]:
    """What each program of an object costs the verifier, by name.

    Raises:
        NotPermitted: this process may not load BPF.
        VerifierRejected: a program is refused.
    """
    with Object.open(path) as loaded:
        loaded.set_constants(OWN)
        loaded.measure()
        loaded.load()
        return {name: loaded.cost(name) for name in loaded.programs()}


def faults(found: Mapping[str, Cost]) -> Iterator[str]:
    """What is too tight, a line each."""
    for name, cost in found.items():
        if cost.room < ROOM:
            yield f"{name} leaves {cost.room} octets of stack, {ROOM} wanted; its longest chain takes {cost.chain}"
        if cost.processed > PROCESSED_AT_MOST:
            yield f"{name} costs the verifier {cost.processed} instructions, {PROCESSED_AT_MOST} at most"


def main(objects: list[str]) -> int:
    """Print each program's costs and what is too tight; returns the exit code."""
    tight: list[str] = []
    for path in objects:
        try:
            found = costs(Path(path))
        except NotPermitted as error:
            sys.stderr.write(f"room not looked at: {error}\n")
            return 0
        for name, cost in found.items():
            sys.stdout.write(
                f"{Path(path).name:18} {name:16} {cost.room:4} of {STACK} octets of stack left,"
                f" {cost.processed:7} of {PROCESSED} instructions processed\n"
            )
        tight += faults(found)
    for line in tight:
        sys.stderr.write(f"{line}\n")
    return 1 if tight else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

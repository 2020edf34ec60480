"""Sends numbered datagrams to servers that send them back, of which none may be lost. Run as a script.

sequence.py FILE ADDRESS PORT...    sends to each until the file is there; prints, as JSON, how many were sent, and by
                                    target which of them did not come back
"""

import json
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOM = 8 << 20  # bytes of answers: who waits for the processor loses none
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
INTERVAL_S = 0.005
LAST_S = 20.0  # at most, for the last answers


def main() -> None:
    """Send until the file is there, and print the counts as JSON."""
    enough, *targets = sys.argv[1:]
    ways = list(zip(targets[::2], targets[1::2], strict=True))
    sent, back = exchange(Path(enough), ways)
    missing = {" ".join(way): sorted(set(range(sent)) - seen) for way, seen in zip(ways, back, strict=True)}
    json.dump({"sent": sent, "missing": {way: numbers for way, numbers in missing.items() if numbers}}, sys.stdout)


def exchange(enough: Path, ways: list[tuple[str, str]]) -> tuple[int, list[set[int]]]:
    """Send numbers to every target until the file is there; how many, and which came back from each."""
    asking = [connected(address, int(port)) for address, port in ways]
    back = [set[int]() for _ in ways]
    begin = time.monotonic()
    sent = 0
    while not enough.exists():
        for own in asking:
            own.send(str(sent).encode())
        sent += 1
        take(asking, back)
        time.sleep(max(0.0, begin + sent * INTERVAL_S - time.monotonic()))
    end = time.monotonic() + LAST_S
    while min(map(len, back)) < sent and time.monotonic() < end:
        time.sleep(INTERVAL_S)
        take(asking, back)
    return sent, back


def connected(address: str, port: int) -> socket.socket:
    """A UDP socket with a large receive buffer, which never blocks."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
    made.connect((address, port))
    made.settimeout(0)
    return made


def take(asking: list[socket.socket], back: list[set[int]]) -> None:
    """Read the numbers that have come back, each behind the client's address; a refusal ends the script."""
    for own, seen in zip(asking, back, strict=True):
        with suppress(BlockingIOError):
            while True:
                seen.add(int(own.recv(128).partition(b"\n")[2]))


if __name__ == "__main__":
    main()

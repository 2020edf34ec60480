"""DPDK's testpmd as Debian ships it, typed to as at a terminal."""

import os
import pty
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

PACKETS = {way: re.compile(rf"\b{way}-packets: (\d+)") for way in ("RX", "TX")}
SMALL = ("--total-num-mbufs=16384", "--no-mlockall", "--no-lsc-interrupt")


@dataclass(slots=True)
class Testpmd:
    """One that runs, and is typed to."""

    keys: IO[str]
    screen: IO[str]
    printed: str = ""

    def type(self, command: str, *, until: str) -> str:
        """Give a command; what it prints, until a line has a text."""
        self.keys.write(f"{command}\n")
        self.keys.flush()
        return self.wait(until)

    def wait(self, until: str) -> str:
        """What is printed until a line has a text.

        Raises:
            EOFError: it has ended, with what it printed.
        """
        said = ""
        for line in self.screen:
            said += line
            if until in line:
                self.printed += said
                return said
        raise EOFError(self.printed + said)

    def counted(self) -> tuple[int, int]:
        """Packets received and sent by all ports since it was told to start."""
        self.type("show fwd stats all", until="Accumulated")
        said = self.wait("TX-packets")
        received, sent = (int(PACKETS[way].findall(said)[0]) for way in ("RX", "TX"))
        return received, sent


@contextmanager
def typed(argv: Sequence[str]) -> Iterator[Testpmd]:
    """Run it by this command, and end it."""
    ours, theirs = pty.openpty()  # it does not keep back what it prints on a terminal
    with (
        os.fdopen(ours) as screen,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, text=True) as process,
    ):
        os.close(theirs)
        if not process.stdin:
            raise TypeError(process)
        try:
            found = Testpmd(process.stdin, screen)
            found.wait("Checking link statuses")
            found.wait("Done")
            yield found
            found.type("quit", until="Bye")
        finally:
            process.kill()

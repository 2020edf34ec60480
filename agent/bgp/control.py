"""BIRD's control socket: a command goes in as a line, and numbered lines come out.

Source: BIRD's programmer's documentation, "Command line interface", and nest/cli.c.
"""

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agent.errors import AgentError

ANSWER_S = 10.0  # a configuration with 10,000 prefixes is read in well under a second
_CODE = 4  # digits
LEAST_ERROR = 8000  # of the codes; below 1,000 an answer ends
MOST_OCTETS = 1 << 26
_MOST_SHOWN = 64
_GREETING = re.compile(r"BIRD v?(\d+)\S* ready\.")
_LEAST_VERSION = 2  # whose configuration has channels for both families


class BirdError(AgentError):
    """BIRD does not run, or refused a command."""


class BirdRefusal(BirdError):  # noqa: N818  it says more than "Error" does
    """BIRD refused a command, in its words."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The lines of an answer, each with its code."""

    lines: tuple[tuple[int, str], ...]

    def of(self, code: int) -> tuple[str, ...]:
        """The lines with a code."""
        return tuple(text for found, text in self.lines if found == code)


class Control:
    """A connection, for one thread; to be used in a ``with``."""

    def __init__(self, path: Path, timeout_s: float = ANSWER_S) -> None:
        """Connect.

        Raises:
            BirdError: nobody listens there, or not BIRD 2.
            PermissionError: this user may not.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        self._rest = b""
        try:
            self._socket.connect(str(path))
            _check_greeting(self._answer("its greeting"), path)
        except (PermissionError, BirdError):
            self._socket.close()
            raise
        except OSError as error:
            self._socket.close()
            raise BirdError(f"BIRD does not answer at {path}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._socket.close()

    def ask(self, command: str) -> Answer:
        """One command's answer.

        Raises:
            BirdRefusal: it was refused.
            BirdError: BIRD left.
        """
        try:
            self._socket.sendall(f"{command}\n".encode())
            answer = self._answer(command)
        except OSError as error:
            raise BirdError(f"BIRD does not answer {command!r}: {error}") from error
        code, text = answer.lines[-1]
        if code >= LEAST_ERROR:
            raise BirdRefusal(text)
        return answer

    def _answer(self, command: str) -> Answer:
        lines: list[tuple[int, str]] = []
        code = 0
        while True:
            line = self._line(command)
            if line[:1] in {" ", "+"}:  # goes on with the same code; + is what is logged meanwhile
                if line[:1] == " ":
                    lines.append((code, line[1:]))
                continue
            if not (line[:_CODE].isascii() and line[:_CODE].isdecimal()):
                raise BirdError(f"what answers {command!r} is not BIRD: {line[:_MOST_SHOWN]!r}")
            code, mark = int(line[:_CODE]), line[_CODE : _CODE + 1]
            lines.append((code, line[_CODE + 1 :]))
            if mark != "-":
                return Answer(tuple(lines))

    def _line(self, command: str) -> str:
        while b"\n" not in self._rest:
            more = self._socket.recv(1 << 16)
            if not more or len(self._rest) > MOST_OCTETS:
                raise BirdError(f"BIRD ended within its answer to {command!r}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")


def _check_greeting(answer: Answer, path: Path) -> None:
    """Refuse who is no BIRD, and one that could not read our configuration."""
    _, text = answer.lines[-1]
    found = _GREETING.fullmatch(text)
    if found is None or int(found[1]) < _LEAST_VERSION:
        raise BirdError(f"at {path} is {text[:_MOST_SHOWN]!r}, and not BIRD {_LEAST_VERSION}")

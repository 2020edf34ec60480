"""Follows the files that hold passwords of BGP's peers: a Secret's volume, and one file in kube-router's form.

Nobody is told what is in them. They are few and small, and a link in a Secret's volume is exchanged unseen by who
watches the file; so they are read every two seconds.
"""

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path

from agent.log import logger
from agent.model.bgp import MAX_PASSWORD, Password, Passwords
from agent.model.name import ObjectName, Problem
from agent.threads import Threads, Worker
from agent.watch.mirror import Mirror

log = logger(__name__)

RECHECK_S = 2.0
MOST_FILES = 1024


class PasswordSource:
    """The folder and the file, and their thread."""

    def __init__(self, folder: Path, listed: Path | None, mirror: Mirror, threads: Threads) -> None:
        """*listed* has passwords in base64, separated by commas."""
        self._folder, self._listed, self._mirror = folder, listed, mirror
        self._told: tuple[Passwords, tuple[Problem, ...]] | None = None
        self._worker = Worker(threads, "watch-bgp-passwords", self._run)

    def start(self) -> None:
        """Begin to watch."""
        self._worker.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            with self._worker.busy():
                self.look()
            self._worker.pause(RECHECK_S)

    def look(self) -> None:
        """Read all, and tell what is new."""
        problems: list[Problem] = []
        listed = tuple(self._in_list(problems))
        is_lost = self._listed is not None and not listed
        found = Passwords(dict(self._in_folder(problems)), listed, is_lost)
        told = (found, tuple(problems))
        if told != self._told:
            self._told = told
            log.info("passwords of BGP", keys=len(found.by_key), listed=len(found.of_options), problems=len(problems))
            self._mirror.set_bgp_passwords(*told)

    def _in_folder(self, problems: list[Problem]) -> Iterator[tuple[str, Password]]:
        try:
            paths = sorted(path for path in self._folder.iterdir() if not path.name.startswith("."))
        except OSError:
            return  # whose password is there is told by the peer that wants it
        for path in paths[:MOST_FILES]:
            text = self._text(path, problems)
            if text is not None and (password := _password(text, path, "", problems)):
                yield path.name, password

    def _in_list(self, problems: list[Problem]) -> Iterator[Password | None]:
        """Each in its place; None for one that cannot be used, whose peer is not to go without."""
        path = self._listed
        text = self._text(path, problems) if path else None
        if path is None or text is None:
            return
        if not text.strip():
            problems.append(_problem(path, "", "has nothing in it"))
            return
        for index, part in enumerate(text.strip().split(",")):
            where = f"[{index}]"
            try:
                plain = base64.b64decode(part.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                problems.append(_problem(path, where, "is no base64 of a text"))
                yield None
                continue
            is_none = not plain.rstrip("\r\n")
            yield Password("") if is_none else _password(plain, path, where, problems)

    def _text(self, path: Path, problems: list[Problem]) -> str | None:
        try:
            return path.read_text()
        except IsADirectoryError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is no text"
            problems.append(_problem(path, "", f"cannot be read: {why}"))
            return None


def _password(text: str, path: Path, where: str, problems: list[Problem]) -> Password | None:
    """One that BIRD's configuration can hold, which has no way to write a quote; a last line's end is none of it."""
    plain = text.rstrip("\r\n")
    if not plain:
        return None
    if '"' in plain or not plain.isprintable() or len(plain.encode()) > MAX_PASSWORD:
        text = f'is no password that can be used: up to {MAX_PASSWORD} octets that can be printed, without "'
        problems.append(_problem(path, where, text))
        return None
    return Password(plain)


def _problem(path: Path, where: str, text: str) -> Problem:
    return Problem("File", ObjectName("", str(path)), where, text)

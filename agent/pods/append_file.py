"""A file of lines that only grows: many threads append, one flush serves all who wait, and it is made anew when long.

Stands under the ``journal`` and knows nothing of what a line says. Each line begins with its own checksum, so that what
a crash or a disk has spoilt is seen, and the lines behind it are still found.

After an error nobody knows what the file holds; then it is made anew, whole, before the next line.
"""

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Condition
from zlib import crc32

from agent.pods.files import place

LONG = 1 << 18  # octets behind what it began with, from which on it can be shortened: some 300 ADD with their DEL
LONGEST = 1 << 20  # from which on it is shortened by whoever flushes
_SUM = 9  # octets: eight hex digits and a space


class AppendFile:
    """The file at *path*; *snapshot* gives the lines it begins with, which stand for all that were appended."""

    def __init__(self, path: Path, snapshot: Callable[[], Iterable[bytes]]) -> None:
        """Nothing is touched before :meth:`make_anew`, or the first line."""
        self.alone = Condition()  # who holds it can append and change what *snapshot* gives as one
        self._path = path
        self._snapshot = snapshot
        self._fd = -1
        self._is_sound = False  # the file is there and holds every line, and nothing else
        self._is_flushing = False
        self._appended = self._flushed = 0  # lines
        self._grown = 0  # octets

    def append(self, line: bytes) -> None:
        """Write a line, which has no line feed: it outlives this process.

        Raises:
            OSError: the disk is full, or read-only; the line is not in the file, or will not stay in it.
        """
        content = framed(line)
        with self.alone:
            if not self._is_sound:
                self.make_anew()
            try:
                if os.write(self._fd, content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301  the rest would say so
            except OSError as error:
                self._is_sound = False
                raise self._told(error) from error
            self._grown += len(content)
            self._appended += 1

    def flush(self) -> None:
        """Return when all lines until now are on the disk. Those who come during a flush have the next one together.

        Raises:
            OSError: the disk refuses; nobody knows which of the lines it has.
        """
        with self.alone:
            wanted = self._appended
            self.alone.wait_for(lambda: self._flushed >= wanted or not self._is_flushing)
            if self._flushed >= wanted:
                return
            if not self._is_sound or self._grown > LONGEST:
                self.make_anew()
                return
            self._is_flushing, last = True, self._appended
        try:
            os.fdatasync(self._fd)
            is_sound = os.fstat(self._fd).st_nlink > 0  # or somebody has removed it
        except OSError as error:
            is_sound = False
            raise self._told(error) from error
        finally:
            with self.alone:
                self._is_flushing = False
                self._is_sound &= is_sound
                self._flushed = last if is_sound else self._flushed
                self.alone.notify_all()
        if not is_sound:
            self.flush()

    def shorten(self) -> None:
        """Make it anew where it has grown long: some flushes' worth of time, for when nobody waits.

        Raises:
            OSError: as :meth:`make_anew`.
        """
        with self.alone:
            if self._grown > LONG:
                self.make_anew()

    def make_anew(self) -> None:
        """Have the file begin with the snapshot, durably; until its name is taken, the old one stays.

        Raises:
            OSError: the disk is full, or read-only. The next line tries again.
        """
        with self.alone:
            self.alone.wait_for(lambda: not self._is_flushing)
            self._is_sound = False
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                place(self._path, b"".join(map(framed, self._snapshot())))
                fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            except OSError as error:
                raise self._told(error) from error
            self._close()
            self._fd, self._is_sound, self._grown, self._flushed = fd, True, 0, self._appended

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _told(self, error: OSError) -> OSError:
        """The error, with what it means."""
        text = f"the journal of pods cannot be written: {error.strerror}"
        return OSError(error.errno, text, str(self._path))

    def __del__(self) -> None:
        """Let go of the file; what was appended is in it."""
        self._close()


def framed(line: bytes) -> bytes:
    """The line as it stands in the file."""
    return b"%08x %b\n" % (crc32(line), line)


def lines(content: bytes) -> tuple[tuple[bytes, ...], int]:
    """The lines of a file that are as they were written, and how many are not; one that ends early is the last."""
    whole, spoilt = list[bytes](), 0
    *ended, torn = content.split(b"\n")
    for each in ended:
        line = each[_SUM:]
        if each[:_SUM] == b"%08x " % crc32(line):
            whole.append(line)
        else:
            spoilt += 1
    return tuple(whole), spoilt + bool(torn)

"""The journal of this node's attachments: a line for each stage of ADD and DEL, by which the next agent knows them.

A line is written before what follows from it is done, and a request's lines are flushed together before its answer.
Their order is what a killed agent leaves behind. The flush is for the disk, which can refuse: a power cut takes
the pods along, so a journal of another boot is void, whatever it holds. The boot is in the file's name.
docs/decisions/0019-journal.md has the reasons.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from agent.log import logger
from agent.model.attachment import AttachmentKey
from agent.pods.append_file import AppendFile, lines
from agent.pods.attachment_files import attachment_files
from agent.pods.attachments import Saved, address
from agent.pods.record import EntryRecord, saved_record

log = logger(__name__)

SUFFIX = ".journal"


class Stage(StrEnum):
    """How far an attachment has come, in the words that the file has for it."""

    ADDING = "adding"  # addresses and host ports are its own; there is no device to speak of yet
    MADE = "wired"  # the kernel has all but its records in maps
    ADDED = "added"
    DELETING = "deleting"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Entry:
    """An attachment has come to a stage; *saved* is None while it is ADDING."""

    stage: Stage
    key: AttachmentKey
    saved: Saved | None = None


class Journal:
    """The journal of one node; safe to use from several threads."""

    def __init__(self, directory: Path, boot: str) -> None:
        """Nothing is touched: :meth:`load` reads, :meth:`begin` writes."""
        self._path = directory / f"{boot}{SUFFIX}"
        self._boot = boot
        self._entries: dict[AttachmentKey, Entry] = {}
        self._file = AppendFile(self._path, self._snapshot)

    def load(self) -> tuple[Entry, ...]:
        """What an earlier agent of this boot left, oldest first, each with what is saved of it; changes nothing."""
        self._entries = _whole(attachment_files(self._path.parent, self._boot))
        whole, spoilt = lines(self._read())
        for line in whole:
            try:
                self._fold(_read(line))
            except (ValueError, RecursionError):
                spoilt += 1
        if spoilt:
            log.warning("lines of the journal are cut or spoilt, and left out", lines=spoilt, file=self._path)
        return tuple(sorted(self._entries.values(), key=_age))

    def begin(self, living: Iterable[Saved]) -> None:
        """Have these attachments, and no other, durably; what else lies in the folder goes.

        A disk that cannot be written is no reason not to start: it is told, and refuses the first ADD.
        """
        self._entries = _whole(living)
        try:
            self._file.make_anew()
            for path in self._path.parent.iterdir():
                if path != self._path and not path.is_dir():
                    path.unlink()
        except OSError as error:
            log.warning("no pod can be added until the disk can be written", why=error)

    def append(self, stage: Stage, key: AttachmentKey, saved: Saved | None = None) -> None:
        """Write down that *key* has come to *stage*.

        Raises:
            OSError: the disk is full, or read-only.
        """
        entry = Entry(stage, key, saved)
        line = _written(entry)
        with self._file.alone:
            self._file.append(line)
            self._fold(entry)

    def flush(self) -> None:
        """Return when all lines until now are on the disk.

        Raises:
            OSError: the disk refuses.
        """
        self._file.flush()

    def end(self, stage: Stage, key: AttachmentKey) -> None:
        """As :meth:`append`, for what is taken away: no disk stands in its way.

        What the file lacks then, the next start sees from the kernel: the device is gone.
        """
        try:
            self.append(stage, key)
        except OSError as error:
            log.warning("a pod goes, and its journal cannot say so", stage=stage, container=key[0], why=error)
            with self._file.alone:
                self._fold(Entry(stage, key))

    def end_flush(self) -> None:
        """As :meth:`flush`, where no disk stands in the way."""
        try:
            self.flush()
        except OSError as error:
            log.warning("the journal of pods is not on the disk", why=error)

    def shorten(self) -> None:
        """Leave out what attachments have been through, where that is much; for when nobody waits."""
        try:
            self._file.shorten()
        except OSError as error:
            log.warning("the journal of pods stays long", why=error)

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            log.warning("journal of pods is unreadable, and their devices go", why=error)
            return b""

    def _fold(self, entry: Entry) -> None:
        """Take a line in. One whose beginning was lost says nothing that a start could use."""
        if entry.stage is Stage.GONE:
            self._entries.pop(entry.key, None)
        elif entry.saved is not None or entry.stage is Stage.ADDING:
            self._entries[entry.key] = entry
        elif entry.key in self._entries:
            self._entries[entry.key] = Entry(entry.stage, entry.key, self._entries[entry.key].saved)

    def _snapshot(self) -> Iterator[bytes]:
        return map(_written, self._entries.values())


def _read(line: bytes) -> Entry:
    """The entry of a line.

    Raises:
        msgspec.DecodeError, ValueError: it says nothing that this version knows.
    """
    record = msgspec.json.decode(line, type=EntryRecord, dec_hook=address)
    stage = Stage(record.step)
    is_made = record.saved is not None and stage is not Stage.ADDING  # older agents tell then what there is not yet
    return Entry(stage, record.key, record.saved.saved() if record.saved and is_made else None)


def _written(entry: Entry) -> bytes:
    saved = saved_record(entry.saved) if entry.saved else None
    return msgspec.json.encode(EntryRecord(str(entry.stage), entry.key, saved), enc_hook=str)


def _whole(attachments: Iterable[Saved]) -> dict[AttachmentKey, Entry]:
    return {saved.attachment.key: Entry(Stage.ADDED, saved.attachment.key, saved) for saved in attachments}


def _age(entry: Entry) -> int:
    return entry.saved.sequence if entry.saved else 0

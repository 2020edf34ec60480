"""Folders of the node's that pods mount, in which a pod may have put anything in the place of anything.

Each step on the way to one begins at the folder before and follows no link, so that nobody is led to another pod's.
What lies in the way is moved out of it by one call, however much it holds, and removed in pieces when nobody waits.
"""

import errno
import os
import secrets
from collections.abc import Collection, Container, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Lock

from agent.log import logger

log = logger(__name__)

PIECE = 256  # entries of a folder that are read at a time
AT_RESYNC = 4096  # entries of one pod's that are removed before the others have their turn, for a pod may make more
AT_CLEANUP = 1 << 20  # of all pods', for no resync follows
_DISCARDED = "%discarded-"  # and what no pod can guess: no place begins so, and bpffs has no dots in names
_END = object()
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class PodFolders:
    """Those below *root*, by their places, as ``pods/shop/web/eth0``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._told: set[str] = set()  # the names of what stays, which the log has already
        self._lock = Lock()  # guards what follows, and is held for a step of a removal there
        self._unemptied: set[str] = set()  # devices' places that have been left, and may have something of the pod's

    @contextmanager
    def made(self, place: str) -> Iterator[int]:
        """A descriptor of the folder at a place, for the block; it is there afterwards, whatever lay in its way.

        Raises:
            OSError: it cannot be made.
        """
        with self._lock:
            self._unemptied.discard(place)  # what is there is the next pod's from now on
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        with self._entered(place, is_made=True) as folder:
            yield folder

    def discard(self, folder: int, name: str) -> None:
        """Have nothing of that name in a folder.

        Raises:
            OSError: it cannot be removed.
        """
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            self._discard_folder(folder, name)

    def leave(self, place: str, name: str, others: Collection[str]) -> None:
        """Have no file of this name at a place, nor the place; nor its pod's folder, but for the way to *others*.

        A place without a slash is a device's: its folder stays, for it may be mounted for the next pod already. What
        else is in it goes with :meth:`remove_discarded`, unless the place is made again before.

        Raises:
            OSError: something cannot be removed.
        """
        pod, _, interface = place.rpartition("/")
        if not pod:
            self._discard_at(place, name)
            with self._lock:
                self._unemptied.add(place)
            return
        if any(one.startswith(f"{pod}/") for one in others):
            self._discard_at(place, name)
            self._discard_at(pod, interface)
            return
        for each in ((place, name), (pod, interface)):  # by which the pod's is empty, if it was left as it was made
            with suppress(OSError):
                self._discard_at(*each)
        above, _, last = pod.rpartition("/")
        self._discard_at(above, last)
        remove_empty(self._root / above, self._root)

    def remove_discarded(self) -> Iterator[None]:
        """Remove what was discarded, or is left in a device's place, in pieces; the next call goes on.

        Of each it removes as much as :data:`AT_RESYNC`.

        The log says once of each that it stays.
        """
        try:
            root = os.open(self._root, _FOLDER)
        except FileNotFoundError:
            return
        try:
            for name in [name for name in _some(root, None) if name.startswith(_DISCARDED)]:
                yield from self._within(AT_RESYNC, name, _removed(root, name))
            with self._lock:
                places = tuple(self._unemptied)
            for place in places:
                yield from self._within(AT_RESYNC, place, self._emptied(place))
        finally:
            os.close(root)

    def remove(self, most: int = AT_CLEANUP) -> None:
        """Remove all of them, unless there are more entries than *most*; the log says what stays."""
        if not self._root.is_dir():
            return
        above = os.open(self._root.parent, _FOLDER)
        try:
            for _ in self._within(most, "", _removed(above, self._root.name)):
                pass
        finally:
            os.close(above)

    def _within(self, most: int, name: str, steps: Generator[None]) -> Iterator[None]:
        """So many steps at the *most* of the removal of something in the root."""
        why: object = f"more than {most} entries"
        try:
            with closing(steps):
                for number, _ in enumerate(steps):
                    if number == most:
                        break
                    yield
                else:
                    self._told.discard(name)
                    return
        except OSError as error:
            why = error
        if name not in self._told:
            self._told.add(name)
            log.warning("not all that a pod left is removed", folder=self._root / name, why=why)

    @contextmanager
    def _entered(self, place: str, *, is_made: bool = False) -> Iterator[int]:
        """A descriptor of the folder at a place.

        Raises:
            FileNotFoundError, NotADirectoryError: there is none; not where it *is_made*.
        """
        folder = os.open(self._root, _FOLDER)
        try:
            for name in filter(None, place.split("/")):
                if is_made:
                    self._make(folder, name)
                inner = _step(folder, name)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _make(self, folder: int, name: str) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=folder)
        except FileExistsError:
            try:
                os.close(_step(folder, name))
            except NotADirectoryError:
                self.discard(folder, name)
                os.mkdir(name, 0o755, dir_fd=folder)

    def _discard_at(self, place: str, name: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError), self._entered(place) as folder:
            self.discard(folder, name)

    def _emptied(self, place: str) -> Generator[None]:
        """Empty a device's place until it is made again. Raises as :func:`_emptied`."""
        try:
            with self._entered(place) as folder:
                steps = _emptied(folder)
                while self._has_step(place, steps):
                    yield
        except (FileNotFoundError, NotADirectoryError):
            with self._lock:
                self._unemptied.discard(place)

    def _has_step(self, place: str, steps: Iterator[None]) -> bool:
        """Take a step of emptying a place that has not been made again; whether there was one."""
        with self._lock:
            if place not in self._unemptied:
                return False
            if next(steps, _END) is not _END:
                return True
            self._unemptied.remove(place)
            return False

    def _discard_folder(self, folder: int, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            root = os.open(self._root, _FOLDER)
            try:
                _move(folder, name, root)
            except PermissionError as error:  # another user's folder cannot leave that which it is in
                log.warning("what a pod left belongs to another user, and stays beside its place", name=name, why=error)
                _move(folder, name, folder)
            finally:
                os.close(root)


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it up to *root*, which stays, as far as they are empty.

    Those that are not there, as when somebody died at it, keep none above them.
    """
    while folder != root:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.parent


def _step(folder: int, name: str) -> int:
    """A folder in a folder, by no link."""
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def _move(folder: int, name: str, to: int) -> None:
    """Move something to another folder, under a name that no pod could have taken there before."""
    os.rename(name, f"{_DISCARDED}{secrets.token_hex(16)}", src_dir_fd=folder, dst_dir_fd=to)


def _removed(root: int, name: str) -> Generator[None]:
    """Remove what was discarded, one entry before each step.

    Raises:
        OSError: something stays, and the rest is gone.
    """
    folder = _step(root, name)
    try:
        yield from _emptied(folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=root)


def _emptied(folder: int) -> Generator[None]:
    """Remove what is in a folder; what is in one of its own is lifted out of that first, so that none is too deep.

    Raises: as :func:`_removed`, but where more than :data:`PIECE` entries stay, some of the rest do.
    """
    stays: dict[str, OSError] = {}
    while len(stays) < PIECE and (names := _some(folder, without=stays)):
        for each in names:
            try:
                yield from _lifted(folder, each)
            except FileNotFoundError:  # the pod removes too
                pass
            except OSError as error:
                stays[each] = error
            yield
    if stays:
        raise next(iter(stays.values()))


def _lifted(folder: int, name: str) -> Generator[None]:
    """Remove one entry; of a folder some of its own, of which folders come out of it."""
    with suppress(IsADirectoryError):
        os.unlink(name, dir_fd=folder)
        return
    inner, why = _step(folder, name), None
    try:
        names = _some(inner)
        for each in names:
            try:
                _unlink_or_move(inner, each, folder)
            except OSError as error:  # those beside it go nevertheless
                why = error
            yield
    finally:
        os.close(inner)
    if why:
        raise why
    if len(names) < PIECE:
        os.rmdir(name, dir_fd=folder)


def _unlink_or_move(folder: int, name: str, to: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        _move(folder, name, to)


def _some(folder: int, most: int | None = PIECE, *, without: Container[str] = ()) -> list[str]:
    with os.scandir(folder) as found:
        return list(islice((entry.name for entry in found if entry.name not in without), most))

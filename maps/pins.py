"""Where maps and links live between two agents: pins by generation, under one exclusive lock.

::

    <pin root>/current                  a link to the generation that is in use
    <pin root>/<generation>/maps/<map>  named by layout and sizes, so an equal build finds its own
    <pin root>/links/<link>             outside: links move to new programs, they are not made anew
    <pin root>/removed-<generation>     being taken down
    <pin root>/state                    a link to the agent's --state-dir
    <pin root>/afxdp/                   what interfaces with AF_XDP have for themselves (agent/kernel/device/)
    <pin root>/vfs/                     and VFs in pods

The order that survives a kill at any step:

1. ``generation(name)`` makes the directory; ``adopt`` gives objects what is pinned there, ``keep`` pins what is new.
2. The maps are filled, flows carried over (:mod:`maps.carry`), links moved to the new programs, flows carried again.
3. ``make_current`` points ``current`` to it, in one rename.
4. ``remove`` renames each stale generation away, then deletes it.

Killed before 3, ``current`` still names the old one; the next start takes up the half-made generation if it wants the
same one, else it moves the links back and removes it. Killed in 4, the rest is removed by the next ``finish_removals``.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maps import libbpf
from maps.errors import PinRootBusy
from maps.object import Object

_CURRENT = "current"
_MAPS = "maps"
_NEXT = "current-next"
_LINKS = "links"
_REMOVED = "removed-"
_AFXDP = "afxdp"
_VFS = "vfs"
_STATE = "state"


def generation_name(layout: str, sizes: Mapping[str, int]) -> str:
    """The name of the generation for a layout (:data:`maps.abi.LAYOUT`) and the maps' sizes."""
    text = " ".join(f"{name}={size}" for name, size in sorted(sizes.items()))
    return f"{layout}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@contextmanager
def held(path: Path) -> Iterator[int]:
    """A file descriptor of what is pinned there, while the block runs; raises as :func:`maps.libbpf.get_pinned`."""
    fd = libbpf.get_pinned(path)
    try:
        yield fd
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Generation:
    """The pins of one layout and one set of sizes."""

    path: Path

    @property
    def name(self) -> str:
        """Its directory's name."""
        return self.path.name

    @property
    def maps(self) -> Path:
        """The directory of its maps."""
        return self.path / _MAPS

    def map_path(self, name: str) -> Path:
        """Where a map is pinned, or would be."""
        return self.maps / name

    def pinned(self) -> tuple[str, ...]:
        """The names of the maps that are pinned."""
        return tuple(sorted(entry.name for entry in self.maps.iterdir())) if self.maps.is_dir() else ()

    def adopt(self, program: Object) -> tuple[str, ...]:
        """Make an object use the maps that are pinned; returns their names. Before its load."""
        adopted = tuple(name for name in program.maps() if self.map_path(name).exists())
        for name in adopted:
            with held(self.map_path(name)) as fd:
                program.reuse(name, fd)
        return adopted

    def keep(self, program: Object) -> tuple[str, ...]:
        """Pin the maps that a loaded object made; returns their names."""
        new = tuple(name for name in program.maps() if not self.map_path(name).exists())
        for name in new:
            libbpf.pin(program.map_fd(name), self.map_path(name))
        return new


class PinRoot:
    """A directory in bpffs. Reading needs no lock; whoever changes it holds the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    @property
    def links(self) -> Path:
        """The directory of the pinned links."""
        return self.path / _LINKS

    @property
    def afxdp(self) -> Path:
        """The directory of what interfaces with AF_XDP have for themselves."""
        return self.path / _AFXDP

    @property
    def vfs(self) -> Path:
        """The directory of the links of VFs in pods."""
        return self.path / _VFS

    def lock(self) -> None:
        """Make the directories, and take the lock for as long as this process lives or until :meth:`unlock`.

        Raises:
            PinRootBusy: another process holds it.
        """
        self.links.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            os.close(fd)
            raise PinRootBusy(str(self.path)) from busy
        self._lock = fd

    def abandon(self) -> None:
        """Release the lock, and leave no folders where there was nothing before."""
        with suppress(OSError):
            self.links.rmdir()
            self.path.rmdir()
        self.unlock()

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def current(self) -> Generation | None:
        """The generation in use."""
        try:
            name = (self.path / _CURRENT).readlink()
        except OSError:
            return None
        found = self.path / name
        return Generation(found) if found.is_dir() else None

    def generations(self) -> tuple[Generation, ...]:
        """All generations, the current and those half made or left over; what others have here is none."""
        if not self.path.is_dir():
            return ()
        return tuple(
            Generation(entry)
            for entry in sorted(self.path.iterdir())
            if entry.name not in {_LINKS, _AFXDP, _VFS}
            and not entry.name.startswith(_REMOVED)
            and _is_generation(entry)
        )

    def generation(self, name: str) -> Generation:
        """The generation of a name, its directories made if need be."""
        made = Generation(self.path / name)
        made.maps.mkdir(parents=True, exist_ok=True)
        return made

    def make_current(self, generation: Generation) -> None:
        """Declare a generation the one in use, in one step."""
        following = self.path / _NEXT
        following.unlink(missing_ok=True)
        following.symlink_to(generation.name)
        following.replace(self.path / _CURRENT)

    def state_dir(self) -> Path | None:
        """The folder in which the agent that made the pins has its records; None: it has not said."""
        try:
            return (self.path / _STATE).readlink()
        except OSError:
            return None

    def tell_state_dir(self, folder: Path) -> None:
        """Say where the agent has its records, unless that is said already."""
        if self.state_dir() is None:
            (self.path / _STATE).symlink_to(folder)

    def stale(self) -> tuple[Generation, ...]:
        """The generations that are not in use."""
        current = self.current()
        return tuple(found for found in self.generations() if found != current)

    def remove(self, generation: Generation) -> None:
        """Take a generation's pins down; its maps end when no program holds them."""
        self.finish_removals()
        generation.path.rename(self.path / (_REMOVED + generation.name))
        self.finish_removals()

    def finish_removals(self) -> None:
        """Delete what an earlier removal left."""
        for entry in self.path.glob(f"{_REMOVED}*"):
            _delete(entry)

    def remove_all(self) -> None:
        """Leave nothing: generations, links (what they hold detaches) and the root itself. Ends with the lock gone.

        What others have in the root stays, and so does the root then. What is in :attr:`afxdp` is the caller's to
        remove before: pods may have made of it what they liked.

        Raises:
            OSError: something stays, which is that where nothing else is wrong.
        """
        try:
            for entry in self._own():
                _remove(entry)
            if self.afxdp.is_dir():
                self.afxdp.rmdir()
            if self.path.is_dir() and not any(self.path.iterdir()):
                self.path.rmdir()
        finally:
            self.unlock()

    def _own(self) -> Iterator[Path]:
        """All that is in the root of ours but :attr:`afxdp`."""
        yield from (generation.path for generation in self.generations())
        yield from self.path.glob(f"{_REMOVED}*")
        yield from (one for one in (self.path / name for name in (_CURRENT, _NEXT, _STATE)) if one.is_symlink())
        yield from (folder for folder in (self.links, self.vfs) if folder.is_dir())


def _is_generation(entry: Path) -> bool:
    """Whether :meth:`PinRoot.generation` made it; killed in between, it is empty."""
    return entry.is_dir() and not entry.is_symlink() and all(each.name == _MAPS for each in entry.iterdir())


def _delete(directory: Path) -> None:
    """A directory and all in it; a file in bpffs has no contents."""
    for entry in directory.iterdir():
        _remove(entry)
    directory.rmdir()


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        _delete(entry)
    else:
        entry.unlink()

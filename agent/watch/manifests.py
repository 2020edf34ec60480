"""Watches a folder of Kubernetes YAML in place of an API server: edge nodes, the demo, scenario tests.

Standalone there is nobody who allocates: objects carry clusterIP, nodePort and pod CIDRs themselves. Files are read
when they are closed after writing or renamed into place, never half-written; what comes within moments is one change.
"""

from pathlib import Path

from agent.log import logger
from agent.threads import Threads, Worker
from agent.watch.decode.decoder import Decoder
from agent.watch.decode.kind import Kind
from agent.watch.decode.kinds import KINDS
from agent.watch.folder import SUFFIXES, Folder
from agent.watch.inotify import Event, Inotify, Mask
from agent.watch.mirror import Mirror
from agent.watch.status import WatchStatus

log = logger(__name__)

SOURCE = "manifests"
EXPECTED: tuple[Kind, ...] = KINDS

SETTLE_S = 0.02  # of silence before files are read
SETTLE_ROUNDS = 10  # of such waits at most, so that a steady writer does not starve us
MISSING_S = 1.0  # between looks for a folder that is not there
IDLE_S = 3600.0

_GONE = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT | Mask.IGNORED


class ManifestsSource:
    """One folder and its thread."""

    def __init__(self, path: Path, node_name: str, mirror: Mirror, threads: Threads) -> None:
        self._path = path
        self._mirror = mirror
        self._folder = Folder(Decoder(node_name))
        self._is_listed = False
        self.trouble = ""  # why the folder is not watched; empty while all is well
        self._worker = Worker(threads, "watch-manifests", self._run)

    def start(self) -> None:
        """Begin to watch; a folder that is not there is waited for."""
        self._worker.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._worker.stop(timeout_s)

    def status(self) -> tuple[WatchStatus, ...]:
        """How the folder fares, for each kind of objects that it may hold."""
        return tuple(WatchStatus(kind.name, self._is_listed, self.trouble) for kind in EXPECTED)

    def _run(self) -> None:
        while not self._worker.is_stopping:
            try:
                with Inotify(self._path) as inotify:
                    self._follow(inotify)
            except OSError as error:
                self._tell(str(error))
                self._worker.pause(MISSING_S)

    def _follow(self, inotify: Inotify) -> None:
        """Read everything, then what changes, until the folder itself is gone."""
        self._read_all()
        while not self._worker.is_stopping:
            events = self._settled(inotify)
            if any(event.mask & _GONE for event in events):
                self._tell(f"{self._path} is gone; its last state is kept")
                return
            # names with two dots are how kubelet exchanges a volume's files at once
            if any(event.mask & Mask.OVERFLOW or event.name.startswith("..") for event in events):
                self._read_all()
            else:
                self._read({event.name for event in events if self._is_settled(event)})

    def _settled(self, inotify: Inotify) -> tuple[Event, ...]:
        """The events of one burst."""
        events = inotify.wait(IDLE_S, self._worker.wake)
        for _ in range(SETTLE_ROUNDS):
            more = inotify.wait(SETTLE_S, self._worker.wake) if events and not self._worker.is_stopping else ()
            if not more:
                break
            events += more
        return events

    def _is_settled(self, event: Event) -> bool:
        """Whether a file is as its writer wants it; a new link is so at once, a new file not before it is closed."""
        if not event.mask & Mask.CREATE:
            return True
        path = self._path / event.name
        try:
            return path.is_symlink() or path.stat().st_nlink > 1
        except FileNotFoundError:
            return True

    def _read_all(self) -> None:
        """Read every file; for those that came late, or when what happened is not known."""
        names = {path.name for path in self._path.iterdir()}
        self._tell("")
        if self._is_listed:
            self._read(names | set(self._folder.names()))
            return
        changes = self._folder.take((name, self._content(name)) for name in sorted(names) if _is_manifest(name))
        for kind in EXPECTED:
            self._mirror.replace(kind, [change for change in changes if change.kind is kind])
        self._is_listed = True
        self._mirror.report(SOURCE, self._folder.problems())
        log.info("folder read", path=self._path, files=len(self._folder.names()), objects=len(changes))

    def _read(self, names: set[str]) -> None:
        files = sorted(name for name in names if _is_manifest(name))
        if files:
            self._mirror.change(self._folder.take((name, self._content(name)) for name in files))
            self._mirror.report(SOURCE, self._folder.problems())

    def _content(self, name: str) -> bytes | str | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    def _tell(self, trouble: str) -> None:
        if trouble:
            log.warning("folder cannot be watched; tried again", path=self._path, why=trouble)
        self.trouble = trouble


def _is_manifest(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".")

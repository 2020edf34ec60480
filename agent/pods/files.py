"""Files that others trust: whole or not there, and on the disk before anybody is told of them."""

import os
from pathlib import Path

DRAFT = ".draft"


def draft_of(path: Path) -> Path:
    """What :func:`place` writes beside a file before it is there; no reader takes it for one."""
    return path.with_suffix(DRAFT)


def remove_drafts(folder: Path) -> None:
    """Take away what writers that died left in a folder of the agent's, where each file is written once."""
    for path in folder.glob(f"*{DRAFT}"):
        path.unlink(missing_ok=True)


def place(
    path: Path, content: bytes, *, draft: Path | None = None, mode: int = 0o600, outlives_boot: bool = True
) -> None:
    """Write *draft* and rename it into place, durably; the name as well, if the file means anything after a reboot.

    Without another name the draft is :func:`draft_of` the file.
    Nothing is written through a link that somebody put there: pods mount some of the folders.

    Raises:
        OSError: the disk is full or read-only; what was there stays, and no draft is left.
    """
    draft = draft or draft_of(path)
    try:
        draft.unlink(missing_ok=True)  # of a writer that died
        _write(draft, content, mode)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    if outlives_boot:
        sync(path.parent)


def remove(path: Path) -> None:
    """Take a file away, durably; one that is not there is away already."""
    path.unlink(missing_ok=True)
    sync(path.parent)


def below(root: Path, path: Path) -> Path:
    """A path of the node's, whose root is a folder here: links in it lead to where they do on the node.

    ``/var/run`` is one, to ``/run``, and ours would be another.
    """
    found = root
    for part in path.relative_to("/").parts:
        found /= part
        if found.is_symlink():
            target = found.readlink()
            found = root / target.relative_to("/") if target.is_absolute() else found.parent / target
    return found


def _write(path: Path, content: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)  # whatever the umask
        while content:
            content = content[os.write(fd, content) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync(directory: Path) -> None:
    """Have a directory's names on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""The files in --run-dir by which an agent tells dpctl what is in no map; they outlive the agent."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from agent.json_text import NOT_JSON
from agent.pods.files import place

T = TypeVar("T")


def write(run_dir: Path, name: str, content: bytes) -> None:
    """Put a file in place of the one before.

    Raises:
        OSError: it cannot be written; the one before stays.
    """
    place(run_dir / name, content, draft=_draft(run_dir, name), outlives_boot=False)


def read(run_dir: Path, name: str, kind: type[T]) -> T | None:
    """What an agent wrote last; None where there is nothing that can be read.

    Raises:
        PermissionError: this user may not look.
    """
    try:
        return msgspec.json.decode((run_dir / name).read_bytes(), type=kind)
    except PermissionError:
        raise
    except (OSError, *NOT_JSON):
        return None


def remove(run_dir: Path, names: Iterable[str]) -> None:
    """Take files away, and what is left of them half written."""
    for name in names:
        for path in (run_dir / name, _draft(run_dir, name)):
            path.unlink(missing_ok=True)


def _draft(run_dir: Path, name: str) -> Path:
    return (run_dir / name).with_suffix(".new")

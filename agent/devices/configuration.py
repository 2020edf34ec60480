"""The configuration's file, read again when it changes; what cannot be read leaves what was read before."""

from dataclasses import dataclass
from pathlib import Path

from agent.devices.config import KIND, Resource, parse
from agent.model.name import ObjectName, Problem


@dataclass(frozen=True, slots=True)
class Configured:
    """Resources, and what is wrong with the file."""

    resources: tuple[Resource, ...] = ()
    problems: tuple[Problem, ...] = ()


class Configuration:
    """One file."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._content: bytes | None = None
        self._last = Configured()

    def read(self) -> Configured:
        """What it says now; the same value while it does."""
        try:
            content = self._path.read_bytes()
        except OSError as error:
            problem = Problem(KIND, ObjectName("", "config"), "", f"cannot read {self._path}: {error.strerror}")
            return Configured(self._last.resources, (problem,))
        if content != self._content:
            self._content = content
            resources, problems = parse(content, self._prefix)
            is_unreadable = not resources and any(problem.name.name == "config" for problem in problems)
            self._last = Configured(self._last.resources if is_unreadable else resources, problems)
        return self._last

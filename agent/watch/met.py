"""Which resources that need not be there the API server had, by a file for each that outlives the agent.

Such as the kinds of policies: a server that answers an agent's start by "no such resource" takes nothing from a node
whose pods are judged by what an agent before has read.
"""

from pathlib import Path

from agent.log import logger

FOLDER = "kinds"  # in --run-dir
log = logger(__name__)


class Met:
    """The files; None in place of a folder: nothing is remembered."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def had(self, kind: str) -> bool:
        """Whether the server had this kind when it was last asked."""
        return self._folder is not None and (self._folder / kind).exists()

    def note(self, kind: str, *, is_there: bool) -> None:
        """Take down whether it has; what cannot be written is logged, and counts as not known."""
        if self._folder is None or is_there == self.had(kind):
            return
        try:
            if is_there:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                (self._folder / kind).touch(mode=0o600)
            else:
                (self._folder / kind).unlink(missing_ok=True)
        except OSError as error:
            log.warning("which kinds there are is not remembered for the agent's next start", kind=kind, why=error)

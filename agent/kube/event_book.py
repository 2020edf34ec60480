"""Which Events are due: what happened to an object again and again is one Event, written anew now and then.

Pure bookkeeping for ``events``; the clock is given.
"""

from dataclasses import dataclass, replace

from agent.model.name import ObjectName

QUIET_S = 300.0  # between two writes about one subject
SUBJECTS_MAX = 1024  # remembered at once; beyond them new ones get no Event


@dataclass(frozen=True, slots=True)
class Subject:
    """What an Event is about; of one object each field has its own."""

    kind: str
    name: ObjectName
    uid: str  # empty where nobody tells
    reason: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Happened:
    """Something went wrong for an object, *count* times from *first_s* to *last_s* of the wall clock."""

    subject: Subject
    message: str
    count: int
    first_s: float
    last_s: float
    event: str = ""  # the Event that is there already


@dataclass(slots=True)
class _Page:
    """One subject's."""

    happened: Happened
    due: float  # monotonic
    is_new: bool = True  # happened again since it was written
    failures: int = 0  # to write it, in a row


class EventBook:
    """What is to be written; not safe to use from several threads."""

    def __init__(self) -> None:
        self._pages: dict[Subject, _Page] = {}

    def note(self, subject: Subject, message: str, now: float, wall_s: float) -> bool:
        """Take it down; whether there was room for it."""
        page = self._pages.get(subject)
        if page is None:
            if len(self._pages) >= SUBJECTS_MAX:
                return False
            self._pages[subject] = _Page(Happened(subject, message, 1, wall_s, wall_s), now)
            return True
        count = page.happened.count + 1
        page.happened = replace(page.happened, message=message, count=count, last_s=wall_s)
        page.is_new = True
        return True

    def due(self, now: float) -> tuple[Happened, ...]:
        """What is to be written now. A subject to which nothing happened since its last write is forgotten."""
        late = [key for key, page in self._pages.items() if page.due <= now]
        for key in late:
            if not self._pages[key].is_new:
                del self._pages[key]
        return tuple(self._pages[key].happened for key in late if key in self._pages)

    def written(self, happened: Happened, event: str, now: float) -> None:
        """It has been written as *event*, or refused for good; what came meanwhile is written next time."""
        page = self._pages[happened.subject]
        page.is_new = page.happened.count > happened.count
        page.happened = replace(page.happened, event=event)
        page.due, page.failures = now + QUIET_S, 0

    def failed(self, happened: Happened, again_at: float) -> None:
        """It could not be written: later, and behind those that wait as long."""
        page = self._pages.pop(happened.subject)
        page.due, page.failures = again_at, page.failures + 1
        self._pages[happened.subject] = page

    def failures(self, happened: Happened) -> int:
        """How often in a row it could not be written."""
        return self._pages[happened.subject].failures

    def next_due(self) -> float | None:
        """When something is due; None: nothing will be."""
        return min((page.due for page in self._pages.values()), default=None)

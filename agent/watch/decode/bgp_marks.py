"""The annotations by which a Service says what its routes carry where BGP tells of it."""

from collections.abc import Iterator, Mapping

from agent.model.community import (
    COMMUNITIES,
    MAX_NUMBER,
    MOST_COMMUNITIES,
    NO_MARKS,
    PREFERENCE,
    Community,
    Marks,
    named_community,
)
from agent.options.number import decimal
from agent.watch.decode.reader import Reader


def marks(read: Reader, annotations: Mapping[str, str]) -> Marks:
    """What they carry; what cannot be read keeps BGP from telling of the Service, rather than without it."""
    if COMMUNITIES not in annotations and PREFERENCE not in annotations:
        return NO_MARKS
    before = len(read.problems)
    communities = tuple(_communities(read, annotations.get(COMMUNITIES, "")))
    return Marks(communities, _preference(read, annotations.get(PREFERENCE)), len(read.problems) == before)


def _communities(read: Reader, text: str) -> Iterator[Community]:
    parts = text.split(",") if text.strip() else []
    if len(parts) > MOST_COMMUNITIES:
        text = f"has {len(parts)} communities; give {MOST_COMMUNITIES} at most; BGP does not tell of the Service"
        read.refuse(f"metadata.annotations['{COMMUNITIES}']", text)
        return
    for index, part in enumerate(parts):
        try:
            yield named_community(part)
        except ValueError as error:
            read.refuse(f"metadata.annotations['{COMMUNITIES}'][{index}]", f"{error}; BGP does not tell of the Service")


def _preference(read: Reader, text: str | None) -> int | None:
    if text is None:
        return None
    if (number := decimal(text, MAX_NUMBER)) is not None:
        return number
    where = f"metadata.annotations['{PREFERENCE}']"
    read.refuse(where, f"{text[:64]!r} is no number from 0 to {MAX_NUMBER}; BGP does not tell of the Service")
    return None

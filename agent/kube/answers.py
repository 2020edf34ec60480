"""What an API server answers with, as far as it is what was asked for.

Not everything between a node and its API server is one: a proxy or a load balancer may answer 200 with a page or a
Status of its own, or with what another was to have. An empty list is no objects, and who believes it takes all away.
"""

from http import HTTPStatus

import msgspec

from agent.json_text import NOT_JSON
from agent.kube.retry import Refusal


class Head(msgspec.Struct, rename="camel", frozen=True):
    """``metadata`` of an object, or of a list."""

    name: str = ""
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Answered(msgspec.Struct, frozen=True):
    """An object as far as what it says that it is, or a list without its items."""

    kind: str = ""
    metadata: Head = Head()


class _List(Answered, frozen=True):
    """A list with its items."""

    items: list[msgspec.Raw] | None = None


_ONE = msgspec.json.Decoder(Answered)
_LIST = msgspec.json.Decoder(_List)


def refused_as(kind: str, content: bytes) -> Refusal | None:
    """Why an answer is no object of a kind; None if it is. Else it says nothing of what there is, or was done."""
    try:
        why = not_of(kind, _ONE.decode(content))
    except NOT_JSON as error:
        why = f"the answer is no {kind}: {error}"
    return Refusal(HTTPStatus.OK, why) if why else None


def is_of(kind: str, said: str, *, name: str, revision: str) -> bool:
    """Whether what says that it is of the kind *said* is of *kind*; what says none has a name or a revision."""
    return said == kind or (not said and bool(name or revision))


def not_of(kind: str, found: Answered) -> str:
    """Why an answer is no object of a kind; empty if it is."""
    if is_of(kind, found.kind, name=found.metadata.name, revision=found.metadata.resource_version):
        return ""
    return f"the answer is {found.kind[:64] or 'an object'!r}, and no {kind}"


def not_a_list(found: Answered, kind: str) -> str:
    """Why an answer is no list of objects of a kind; empty if it is. Each list has a revision."""
    if why := not_of(f"{kind}List", found):
        return why
    return "" if found.metadata.resource_version else f"the {kind}List has no resourceVersion"


def items_of(kind: str, content: bytes) -> tuple[list[msgspec.Raw], Refusal | None]:
    """The items of a list, and why it is none: as a refusal, for it says nothing of what there is."""
    try:
        found = _LIST.decode(content)
    except NOT_JSON as error:
        return [], Refusal(HTTPStatus.OK, f"the answer is no {kind}List: {error}")
    why = not_a_list(found, kind)
    return ([], Refusal(HTTPStatus.OK, why)) if why else (found.items or [], None)

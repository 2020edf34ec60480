"""One object's bytes become a model value, or nothing, and the user's mistakes in it.

A bad field costs that field, port or address; the rest of the object is used. JSON of a wrong shape
costs the object.
"""

from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from agent.json_text import NOT_JSON
from agent.log import logger
from agent.model.name import ObjectName, Problem
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.reader import shape_problem
from agent.watch.decode.shared import Shared

log = logger(__name__)

UNKNOWN = ObjectName("", "?")


@dataclass(frozen=True, slots=True)
class Decoder:
    """Reads objects for one node, from any thread; what repeats in them is kept once."""

    node_name: str
    _shared: Shared = field(default_factory=Shared)

    def decode(self, kind: Kind, content: Content) -> Decoded:
        """The meaning of one object's JSON."""
        try:
            return kind.decode(content, Context(self.node_name, self._shared))
        except msgspec.DecodeError as error:
            name = identity(content)
            value = kind.unreadable(name) if name != UNKNOWN else None
            return Decoded(kind, name, value, (shape_problem(kind, name, error),))
        except Exception as error:  # noqa: BLE001  who can write one object must not end the thread that reads all
            name = identity(content)
            log.warning("an object cannot be read", kind=kind.name, object=name, why=repr(error))
            value = kind.unreadable(name) if name != UNKNOWN else None
            return Decoded(kind, name, value, (Problem(kind.object_kind, name, "", f"cannot be read: {error!r}"),))

    def deleted(self, kind: Kind, content: Content) -> Decoded:
        """The meaning of an object's deletion; *content* is its last state."""
        return Decoded(kind, identity(content), None)


def identity(content: Content) -> ObjectName:
    """An object's name, UNKNOWN where not even that can be read."""
    try:
        named = _IDENTIFIED.decode(content)
    except NOT_JSON:
        return UNKNOWN
    return ObjectName(named.metadata.namespace, named.metadata.name)


class _Name(Struct, frozen=True):
    """``metadata`` as far as it says which object it is: the rest may be of a wrong shape."""

    name: str = ""
    namespace: str = ""


class _Identified(Struct, frozen=True):
    """Any object, as far as its name."""

    metadata: _Name = _Name()


_IDENTIFIED = msgspec.json.Decoder(_Identified)

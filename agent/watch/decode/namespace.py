"""Namespaces: their labels, and what their pods may route for."""

import msgspec

from agent.model.node import Namespace
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Named
from agent.watch.decode.reader import Reader
from agent.watch.decode.routed_range import allowed_ranges

_NAMESPACE = msgspec.json.Decoder(Named)


def _decode(content: Content, context: Context) -> Decoded:
    found = _NAMESPACE.decode(content)
    read = Reader(NAMESPACE, found.metadata, context.shared)
    labels = tuple(sorted((found.metadata.labels or {}).items()))
    return read.result(Namespace(read.name.name, labels, allowed_ranges(read, found.metadata.annotations)))


NAMESPACE = Kind("Namespace", "/api/v1/namespaces", "namespaces", _decode, is_namespaced=False, is_needed=True)

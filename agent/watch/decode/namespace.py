"""Namespaces: their labels, what their pods may route for, and whether policy only counts there."""

from collections.abc import Mapping

import msgspec

from agent.model.ip_pool import POOLS
from agent.model.node import Namespace
from agent.model.policy import AUDIT, MODE
from agent.watch.decode.kind import Content, Context, Decoded, Kind
from agent.watch.decode.objects import Named
from agent.watch.decode.reader import Reader
from agent.watch.decode.routed_range import allowed_ranges

_NAMESPACE = msgspec.json.Decoder(Named)


def _decode(content: Content, context: Context) -> Decoded:
    found = _NAMESPACE.decode(content)
    read = Reader(NAMESPACE, found.metadata, context.shared)
    return read.result(
        Namespace(
            name=read.name.name,
            labels=read.labels(found.metadata),
            routed_ranges=allowed_ranges(read, found.metadata.annotations),
            ip_pools=(found.metadata.annotations or {}).get(POOLS, ""),
            audits=_audits(read, found.metadata.annotations or {}),
        )
    )


def _audits(read: Reader, annotations: Mapping[str, str]) -> bool:
    value = annotations.get(MODE)
    if value not in {None, AUDIT}:
        where = f"metadata.annotations['{MODE}']"
        read.refuse(where, f"{value!r} is not known, so policy is enforced; say {AUDIT}, or leave it out")
    return value == AUDIT


NAMESPACE = Kind("Namespace", "/api/v1/namespaces", "namespaces", _decode, is_namespaced=False, is_needed=True)

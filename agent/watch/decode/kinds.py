"""All kinds of objects that the agent can read; a new one is a file and a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from agent.watch.decode.endpoint_slice import ENDPOINT_SLICE
from agent.watch.decode.kind import Kind
from agent.watch.decode.namespace import NAMESPACE
from agent.watch.decode.node import NODE
from agent.watch.decode.pod import POD
from agent.watch.decode.service import SERVICE

KINDS: Mapping[str, Kind] = MappingProxyType(
    {kind.name: kind for kind in (SERVICE, ENDPOINT_SLICE, NODE, POD, NAMESPACE)}
)
NEEDED: tuple[Kind, ...] = tuple(kind for kind in KINDS.values() if kind.is_needed)

"""Options that size maps, each by the name that maps/spec.py has for it."""

from dataclasses import dataclass, field

from agent.options import values
from agent.options.values import about


@dataclass(frozen=True)
class SizeOptions:
    """How many entries maps have."""

    max_services: int = field(default=0, metadata=about(values.size, "service addresses", "0: by the node's memory"))
    max_backends: int = field(
        default=0,
        metadata=about(values.size, "backends of all services", "0: by the node's memory"),
    )
    max_flows: int = field(default=0, metadata=about(values.size, "tracked flow entries", "0: by the node's memory"))
    max_endpoints: int = field(
        default=0,
        metadata=about(values.size, "addresses of this node and its pods", "0: by the node's memory"),
    )
    max_prefixes: int = field(
        default=0,
        metadata=about(values.size, "address ranges of other nodes, about four each", "0: by the node's memory"),
    )
    max_affinities: int = field(
        default=0,
        metadata=about(values.size, "clients held to a backend", "0: by the node's memory"),
    )
    max_peers: int = field(
        default=0,
        metadata=about(values.size, "addresses of other nodes' pods that policies mean", "0: by the node's memory"),
    )
    max_rules: int = field(
        default=0,
        metadata=about(values.size, "what policies say of groups of peers and of ports", "0: by the node's memory"),
    )

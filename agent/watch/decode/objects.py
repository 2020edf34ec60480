"""What every Kubernetes object has, as JSON has it; a kind's own fields stand in the kind's file.

What is not declared is skipped by the parser, never kept. Lists may be null: so Go writes an empty slice.
"""

from msgspec import Struct


class Metadata(Struct, rename="camel", frozen=True):
    """``metadata`` of every object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class Named(Struct, frozen=True):
    """Any object, as far as its name."""

    kind: str = ""
    metadata: Metadata = Metadata()

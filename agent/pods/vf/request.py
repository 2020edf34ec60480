"""A VF that is asked for a pod, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName
from agent.model.vf import VfSpec


@dataclass(frozen=True, slots=True)
class VfRequest:
    """What an ADD asks for."""

    address: str  # PCI
    spec: VfSpec
    network: str  # the configuration's name
    container_id: str
    interface: str
    netns: str
    pod: ObjectName | None = None
    pod_uid: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)  # as it came, for its IPAM plugin
    device_info: str = ""  # a file to be written; empty: none
    asked_at_ns: int | None = None
    definition: ObjectName | None = None  # of the further network that it is for

    @property
    def key(self) -> AttachmentKey:
        """What identifies the attachment."""
        return self.container_id, self.interface

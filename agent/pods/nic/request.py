"""A part of a device of the node that is asked for a pod, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName
from agent.model.nic import NicSpec
from agent.pods.nic.record import address_of


@dataclass(frozen=True, slots=True)
class NicRequest:
    """What an ADD asks for."""

    spec: NicSpec
    network: str  # the configuration's name
    container_id: str
    interface: str
    netns: str
    pod: ObjectName | None = None
    pod_uid: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)  # as it came, for its IPAM plugin
    asked_at_ns: int | None = None
    definition: ObjectName | None = None  # of the further network that it is for

    @property
    def address(self) -> str:
        """What the device is known by: one is made for each attachment."""
        return address_of(self.container_id, self.interface)

    @property
    def key(self) -> AttachmentKey:
        """What identifies the attachment."""
        return self.container_id, self.interface

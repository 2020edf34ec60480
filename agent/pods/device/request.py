"""A device that is asked for a pod, as a value: what is the same of every sort."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from agent.model.attachment import AttachmentKey
from agent.model.name import ObjectName

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class DeviceRequest(ABC, Generic[S]):
    """What an ADD asks for."""

    spec: S  # of the sort's own
    network: str  # the configuration's name
    container_id: str
    interface: str  # the device's name in the pod
    netns: str
    pod: ObjectName | None = None  # where the runtime tells
    pod_uid: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)  # as it came, for its IPAM plugin
    asked_at_ns: int | None = None
    definition: ObjectName | None = None  # of the further network that it is for

    @property
    @abstractmethod
    def address(self) -> str:
        """What the device is known by."""

    @property
    def key(self) -> AttachmentKey:
        """What identifies the attachment."""
        return self.container_id, self.interface

"""A part of a device of the node that is asked for a pod, as a value."""

from dataclasses import dataclass

from agent.model.nic import NicSpec
from agent.pods.device.request import DeviceRequest
from agent.pods.nic.record import address_of


@dataclass(frozen=True, slots=True)
class NicRequest(DeviceRequest[NicSpec]):
    """What an ADD asks for."""

    @property
    def address(self) -> str:
        """What the device is known by: one is made for each attachment."""
        return address_of(self.container_id, self.interface)

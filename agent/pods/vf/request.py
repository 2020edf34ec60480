"""A VF that is asked for a pod, as a value."""

from dataclasses import dataclass, field

from agent.model.vf import VfSpec
from agent.pods.device.request import DeviceRequest


@dataclass(frozen=True, slots=True)
class VfRequest(DeviceRequest[VfSpec]):
    """What an ADD asks for."""

    address: str = field(kw_only=True)  # PCI
    device_info: str = ""  # a file to be written; empty: none
